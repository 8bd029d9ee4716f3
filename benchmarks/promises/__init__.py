"""What the design promises, one file per promise: each yields records that the table compares with a threshold.

abort.py           steps until an abort's blocks are free
flood.py           one task's flood and another's first token
mixed_tasks.py     a batch of 64 tasks against one of a single task
publish.py         from a publish to the new version's first token
virtual_tokens.py  what 100 resident virtual tokens cost
zipf.py            10,000 tasks where 64 are resident
"""
