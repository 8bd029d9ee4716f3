"""HTTP: routes, wire types, and the pure conversion between wire and engine."""
