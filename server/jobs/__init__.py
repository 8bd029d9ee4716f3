"""Tuning jobs, from the store's queue to a version that answers.

assembly.py    puts the runner together for one base model
runner.py      which job is next; takes over the jobs of a server that is gone
request.py     what a job asks for
defaults.py    what the server decides where a request is silent
examples.py    a job's files, read and checked
training.py    one run in pieces, with its heartbeat and checkpoints
conclusion.py  a finished run is judged, published and promoted
failures.py    why a job failed, in words for its owner
tally.py       counts of this server's tuning, for metrics
"""
