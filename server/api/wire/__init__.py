"""Bodies as they are sent. Requests forbid unknown fields; responses may gain fields.

bodies.py          bases of all bodies
passive_fields.py  known fields without effect here: accepted if they ask for nothing
sampling.py        generation parameters of completions and chat
structured.py      the form of an answer, among them
completions.py     completions
chat.py            chat completions
classify.py        classifications
embeddings.py      embeddings
models.py          models
engine.py          the engine's state
tasks.py           tasks, versions and aliases
files.py           files
batches.py         batches
tuning.py          tuning jobs
keys.py            keys and the audit log
tokenize.py        token ids
operations.py      health, readiness and release
errors.py          the one error body
examples/          examples of all of these, for the OpenAPI document
"""
