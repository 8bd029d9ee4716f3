"""Bodies as they are sent. Requests forbid what they do not know; responses may gain fields.

bodies.py         what all bodies share
sampling.py       parameters that completions and chat share
completions.py    completions
chat.py           chat completions
classify.py       classifications
models.py         models
tasks.py          tasks, versions and aliases
files.py          files
tuning.py         tuning jobs
keys.py           keys and the audit log
tokenize.py       token ids
operations.py     health, readiness and release
errors.py         the one error body
"""
