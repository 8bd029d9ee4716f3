"""From a file of examples to a soft prompt, on the frozen weights that the server serves.

examples.py     what a file says            encoding.py    what the model will see of it
plan.py         how to tune                 soft_prompt.py the trainable prompt, built and saved by PEFT
run.py          a run, piece by piece       events.py      what it tells
evaluation.py   how good a version is       gate.py        whether it may become `production`
"""
