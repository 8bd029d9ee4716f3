"""From logits to tokens, for all rows of a step together.

sampling_params.py  the parameters of a request
sampling_row.py     the inputs of one sampled token
penalties.py        penalties, bias and forbidden ids
token_masks.py      forbids the tokens that an answer's form does not allow
sampler.py          chooses the tokens
readout.py          reads tokens and log-probabilities off the device in one transfer
"""
