"""From a file of examples to a soft prompt, on the frozen weights that the server serves.

examples.py       reader of a file of examples
example_line.py   one line, and its examples
line_fields.py    checks of its fields, and the keys that ask for nothing
conversations.py  examples of a conversation
split.py          examples to train on, and examples to validate with
encoding.py       an example as token ids
notes.py          remarks on a file of examples
survival.py       answers that a tokenizer changes
plan.py           the method and its hyperparameters
fit.py            limits of memory, cache and engine
cost.py           memory of a run
recomputation.py  layers that the backward pass computes again
piece_time.py     time of its longest piece
job.py            a run's input and output
run.py            a run, piece by piece
run_state.py      a run as bytes, to resume from
kept_runs.py      interrupted runs of the command line, in the data folder
trainer.py        gradients, optimiser steps, validation
batches.py        micro-batches of a step
order.py          examples of each step
forward.py        forward and backward passes with little memory
flat_attention.py  attention of a micro-batch, per example
soft_prompt.py    the trainable prompt, built and saved by PEFT
optimizer.py      the optimiser and its state
rates.py          the learning rate, and the search for one
events.py         events of a run
history.py        the events that a run keeps
watch.py          warnings from that history
plot.py           its curves as a picture
scores.py         scores as numbers
evaluation.py     scores of a version, through the path that serves it
gate.py           conditions of a promotion to `production`
judgement.py      scores and gate of a run's result
errors.py         errors of tuning
"""
