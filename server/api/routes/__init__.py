"""The routes, one file a resource. Each declares the scope it needs and the errors it answers with."""
