"""From a file of examples to a soft prompt, on the frozen weights that the server serves.

examples.py     a file of examples, read and checked
line_fields.py  one line's fields
conversations.py  which answers of messages are learnt
split.py        which examples train, which only validate
encoding.py     an example as token ids
notes.py        remarks on a file of examples
survival.py     answers that a tokenizer changes
plan.py         the method and its hyperparameters
fit.py          whether a run fits into memory, cache and limits
cost.py         how much memory a run takes
piece_time.py   how long its longest piece takes
job.py          a run's input and output
run.py          a run, piece by piece
run_state.py    a run as bytes, to resume from
kept_runs.py    interrupted runs of the command line, in the data folder
trainer.py      gradients, optimiser steps, validation
batches.py      which examples make a step, in micro-batches
order.py        which examples each step takes
forward.py      forward and backward passes with little memory
soft_prompt.py  the trainable prompt, built and saved by PEFT
optimizer.py    the optimiser and its state
rates.py        the learning rate, and the search for one
events.py       what a run reports
history.py      the reported events that a run keeps
watch.py        warnings from that history
plot.py         its curves as a picture
scores.py       scores as numbers
evaluation.py   scores of a version, through the path that serves it
gate.py         whether a version may become `production`
judgement.py    scores and gate of a run's result
errors.py       what tuning refuses or fails with
"""
