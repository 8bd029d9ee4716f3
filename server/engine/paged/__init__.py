"""Our engine for models that write: one batch after another, over a KV cache in blocks.

options.py         sizes and limits, and the check of a request against them
engine.py          the step loop
open_requests.py   the requests that have not ended: how they begin, fork and end
sequence.py        sequences, and the group of one request
encoder_state.py   the encoder's part of a request
generate_group.py  generate requests while they are computed
encode_group.py    an encode request while it is computed
score_group.py     score requests while they are computed
step_rows.py       the rows of logits that a step reads
form_rows.py       the rows that are sampled for an answer's form, and the masks of them
holders.py         the engine's usage: who holds batch, queue and blocks
scheduler.py       the sequences of the next step, and their blocks
step_plan.py       the plan of one step
preemption.py      running sequences that give up blocks, slots or leases for another one
block_tables.py    the blocks of one sequence
block_manager.py   reference counts of KV blocks, and the prefix cache of text
"""
