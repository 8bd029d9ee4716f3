"""Bases of an encoder and a decoder, as transformers builds them: T5, BART and their kin.

Self-attention of both stacks goes through the attention function of `attention.py`. What the stacks take from the
place of a row in a padded batch is replaced: positions, relative biases, and cross-attention.

families.py         the model types that are served
install.py          puts the replacements into a model
stack_pass.py       what the replacements read of the pass that is computed
row_positions.py    learned and sinusoidal positions, per row
relative_bias.py    T5's biases as tables over distances
cross_attention.py  cross-attention over blocks
feed_forward.py     T5's feed-forward layer over packed weights
segments.py         encoder inputs end to end, each attending to itself alone
cross_batch.py      the cross-attention of a step as tensors
probe.py            the facts that the engine needs of such a model
decoding.py         how such a model begins and ends an output
embeddings.py       the embeddings that enter an encoder
"""
