"""Our engine: one thread computes one batch after another, over a KV cache in blocks.

async_engine.py    the engine's thread and its client
messages.py        messages from the event loop to the thread
background.py      the time budget of background work between steps
options.py         sizes and limits, and the check of a request against them
engine.py          the step loop
open_requests.py   the requests that have not ended: how they begin, fork and end
sequence.py        sequences, and the group of one request
generate_group.py  generate requests while they are computed
score_group.py     score requests while they are computed
step_rows.py       the rows of logits that a step reads
scheduler.py       the sequences of the next step, and their blocks
step_plan.py       the plan of one step
queues.py          the sequences that wait
preemption.py      running sequences that give up blocks, slots or leases for another one
fairness.py        token counters of the tasks
block_tables.py    the blocks of one sequence
block_manager.py   reference counts of KV blocks, and the prefix cache of text
"""
