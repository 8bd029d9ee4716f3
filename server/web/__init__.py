"""Files that a browser runs: the page at `/`, which uses only the public HTTP API, and the API's page at `/docs`.

files.py    reads the files of a page once, with their types, digests and compressed copies

`static/` is the page; README.md says how to change it. `docs/` is the API's page: Swagger UI, and the script that
starts it.
"""
