"""From a file of examples to a soft prompt, on the frozen weights that the server serves.

examples.py     what a file says            encoding.py    what the model will see of it
conversations.py  which answers of messages are learnt
plan.py         how to tune                 soft_prompt.py the trainable prompt, built and saved by PEFT
run.py          a run, piece by piece       events.py      what it tells
order.py        whose turn each step is     batches.py     how they go through the model
history.py      what it remembers of that   watch.py       warnings in plain words
rates.py        which learning rate         run_state.py   a run as bytes, to go on from
kept_runs.py    unfinished runs of the command line, in the data folder
fit.py          what it must fit into       cost.py        how much memory it takes
piece_time.py   how long its longest piece takes
evaluation.py   how good a version is       scores.py      as numbers
gate.py         whether it may become `production`
judgement.py    all of these, of the result of a run
"""
