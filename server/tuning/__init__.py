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
task_choice.py    the task type of a run, by the kind of its base model
fit.py            limits of memory, cache and engine
head_fit.py       limits of a head
cost.py           memory of a run
teaching.py       the instruction of a distillation, and an answer of its teacher
distillation/     a long prompt becomes a soft prompt
piece_room.py     memory that a piece may take now
piece_time.py     time of its longest piece
job.py            a run's input and output
run.py            a run, piece by piece
run_state.py      a run as bytes, to resume from
kept_runs.py      interrupted runs of the command line, in the data folder
trainer.py        gradients, optimiser steps, validation
order.py          examples of each step
models/           gradients of a soft prompt before each kind of base model
optimizer.py      the optimiser and its state
schedule.py       learning rates of the steps, validations, extensions
rates.py          the learning rate, and the search for one
events.py         events of a run
history.py        the events that a run keeps
watch.py          warnings from that history
plot.py           its curves as a picture
scores.py         scores as numbers
candidate.py      what an evaluation scores
evaluation.py     scores of a version, through the path that serves it
heads.py          the heads of a base model, and of the versions that are scored
head_scoring.py   scores of a version with a head
text_scoring.py   scores of a version that answers with text
gate.py           conditions of a promotion to `production`
judgement.py      scores and gate of a run's result
errors.py         errors of tuning
"""
