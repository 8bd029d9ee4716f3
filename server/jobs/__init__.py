"""Tuning jobs, from the store's queue to a version that answers.

request.py     what a job asks for             examples.py   its files, read and checked
training.py    one run in pieces, with its     conclusion.py judged, published, served
               heartbeat and checkpoints       failures.py   what went wrong, for who asked for the job
runner.py      which job is next; takes over    tally.py      what came of it all, for metrics
               what another server left behind
"""
