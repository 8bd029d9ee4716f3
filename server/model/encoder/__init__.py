"""Encoders: bidirectional models that read a whole sequence at once. Nothing of a request is kept for the next one.

loading.py           loads the frozen encoder
kind.py              which base models are encoders
architecture.py      the facts that the engine needs of an encoder, and the check that it can be served
batch.py             sequences end to end without padding, as tensors
positions.py         the positions that transformers gives to a sequence
attention.py         attention within each sequence of a batch, and the function that transformers calls
padded_attention.py  the same for a GPU
deberta_v2.py        the attention of DeBERTa-v2, which does not call that function
mpnet.py             the attention of MPNet, which does not either
length_tables.py     tensors that depend on the length of a sequence alone
installed.py         where our attention is put into a model
prefixes.py          the soft prompts on the device
runner.py            sequences in, hidden states out
proof.py             compares that with transformers' own forward pass at start
"""
