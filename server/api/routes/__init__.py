"""The routes, one file per resource. Each declares the scope it needs and the error statuses it returns.

completions.py    `/v1/completions`
chat.py           `/v1/chat/completions`
classify.py       `/v1/classify`
embeddings.py     `/v1/embeddings`
models.py         `/v1/models`
engine.py         `/v1/engine`
tasks.py          `/v1/tasks`
versions.py       `/v1/tasks/{task}/versions`
aliases.py        `/v1/tasks/{task}/aliases`
files.py          `/v1/files`
batches.py        `/v1/batches`
tuning.py         `/v1/fine_tuning/jobs`
keys.py           `/v1/keys`, `/v1/keys/self` and `/v1/audit`
tokenize.py       `/tokenize` and `/detokenize`
operations.py     `/health`, `/ready`, `/metrics`, `/version`, `/openapi.json`
docs.py           `/docs` and the files of this page
page.py           `/` and `/web/{path}`: the page for people, and its files
"""
