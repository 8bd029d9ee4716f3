"""One module per revision, in the order of their numbers. A released one never changes.

v0001_first.py      tasks, versions, tensors, aliases with their moves, changes
v0002_targets.py    aliases of several targets, shadows, reasons of moves
v0003_tuning.py     files, tuning jobs, plots
v0004_ensembles.py  versions that list other versions
v0005_keys.py       API keys
v0006_checkpoint_chunks.py  states of tuning jobs in chunks, claims without progress
v0007_batches.py    batches of requests, and their lines that are done
"""
