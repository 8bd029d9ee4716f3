"""The routes, one file per resource. Each declares the scope it needs and the error statuses it returns.

completions.py    `/v1/completions`
chat.py           `/v1/chat/completions`
classify.py       `/v1/classify`
models.py         `/v1/models`
tasks.py          `/v1/tasks`
versions.py       `/v1/tasks/{task}/versions`
aliases.py        `/v1/tasks/{task}/aliases`
files.py          `/v1/files`
tuning.py         `/v1/fine_tuning/jobs`
keys.py           `/v1/keys` and `/v1/audit`
tokenize.py       `/tokenize` and `/detokenize`
operations.py     `/health`, `/ready`, `/metrics`, `/version`, `/openapi.json`, `/docs`
"""
