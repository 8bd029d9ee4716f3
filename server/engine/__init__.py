"""The engine: token ids in, token ids out. It knows no text, no HTTP and no SQL.

client.py         the contract with the event loop
request.py        requests in, events out
errors.py         what the engine refuses or fails with
options.py        its fixed numbers, and the check of a request against them
async_engine.py   the engine's thread, and the messages to and from it
event_stream.py   one request's events, for its reader and for observers
background.py     tuning work between steps, within a share of the time
engine.py         the step loop
scheduler.py      which sequences run next, and with which blocks
fairness.py       which task is served next
sequence.py       one request while it is computed
block_tables.py   the blocks of one sequence
block_manager.py  reference counts of KV blocks, and the prefix cache of text
step_rows.py      which rows of logits a step reads, and for what
"""
