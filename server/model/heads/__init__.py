"""Heads: what makes an answer of hidden states, instead of the language model's logits.

head.py      what the engine knows of a head
heads.py     the heads of one base model: their shapes, and heads built of a version's tensors
classes.py   transformers' own classes, with hidden states given instead of computed
pooling.py   one vector of the hidden states
held.py      the parameters of heads that the base model's own files hold
"""
