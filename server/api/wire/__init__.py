"""Bodies as they are sent. Requests forbid unknown fields; responses may gain fields.

bodies.py         bases of all bodies
sampling.py       generation parameters of completions and chat
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
