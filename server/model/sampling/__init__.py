"""From logits to tokens, for all rows of a step together.

sampling_row.py  the parameters of one sampled token
penalties.py     penalties, bias and forbidden ids
sampler.py       chooses the tokens
readout.py       reads tokens and log-probabilities off the device in one transfer
"""
