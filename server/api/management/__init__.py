"""Tasks, versions, files, jobs and keys: from bodies to the store and back.

store_access.py         the store off the event loop; writes known at once
checkpoint_upload.py    a checkpoint as it arrives
file_upload.py          a file of examples as it arrives
tuning_request.py       a job as it is asked for
task_bodies.py          tasks, versions and aliases -> bodies
tuning_bodies.py        files and jobs -> bodies, and their public ids
batch_bodies.py         batches -> bodies
key_bodies.py           keys and the audit log -> bodies
paging.py               lists in pages
"""
