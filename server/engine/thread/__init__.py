"""The thread of an engine of ours: it computes one step after another, whatever a step computes.

step_engine.py   the contract with an engine, and with its limits
async_engine.py  the thread and its client on the event loop
messages.py      messages from the event loop to the thread
background.py    the time budget of background work between steps
lanes.py         whether the next step computes live requests or batch requests
snapshots.py     the engine's state for other threads
queues.py        what waits, one queue per task
fairness.py      token counters of the tasks
"""
