"""Tuning jobs, from the store's queue to a version that answers.

tuner.py            the contract with the API: in this process, or in another
assembly.py         puts the runner together for one base model
runner.py           claims jobs, validates and runs them
held_job.py         a claimed job: failed or given back, however work on it stops
claim_heartbeat.py  tells the store that this server works on a job, and carries the job's events
takeover.py         jobs of servers that have stopped
request.py          a job's request, and this server's defaults for it
preparer.py         a job's files, read and checked
answering.py        the answers of a distillation's teacher
training.py         one run in pieces, with its checkpoints
publisher.py        a finished run is judged, published and promoted
candidates.py       versions of the store, loaded for an evaluation
event_texts.py      the sentences of a job's log
failures.py         the errors of failed jobs
process/            the tuning process beside an engine that cannot tune
purge.py            a task's data and its interrupted runs, removed
"""
