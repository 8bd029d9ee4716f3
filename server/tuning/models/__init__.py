"""A soft prompt before a frozen base model: one trainable model per kind of base model and task.

protocol.py            what the trainer asks of every kind
choice.py              the kind that a run trains
decoder.py             a decoder that completes texts
distilled_decoder.py   a decoder that learns another prompt's distributions
decoder_classifier.py  a classification head on a decoder
encoder_classifier.py  a classification head on an encoder
encoder_decoder.py     an encoder-decoder that answers texts
cross_entropy.py       the loss of a kind whose logits fit into memory all at once
soft_prompt.py         the trainable prompt and head, built and saved by PEFT
prompt_values.py       the values that a prompt starts with
head_twin.py           transformers' classification model over the weights of the base model
decoder_pass.py        forward passes of flat micro-batches through a decoder
given.py               last hidden states in place of a backbone
flat_batches.py        examples end to end, as one flat row of tokens
flat_attention.py      attention of such a row, per example
padded_batches.py      examples side by side, padded to one length
padded_pass.py         their forward passes, by PEFT
recomputation.py       layers that the backward pass computes again
"""
