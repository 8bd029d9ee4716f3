"""Examples of bodies: the demo's tasks, as a small installation would use them. Each value is written once.

inference.py    completions, chats, classifications, embeddings, models and token ids
heads.py        what tasks with heads are asked and answer, where a body has several forms
tasks.py        tasks, versions and aliases
tuning.py       files and tuning jobs
batches.py      batches
keys.py         keys and the audit log
operations.py   health, readiness, release, metrics and the engine's state
errors.py       the error body, by status and resource
document.py     puts the examples into the OpenAPI document
"""
