"""How good tuning is by default, and beside other ways to teach one frozen base a task.

    python -m benchmarks.tuning results.json             run what the file lacks, one process a run
    python -m benchmarks.tuning results.json --report    print the tables of docs/tuning.md
    python -m benchmarks.tuning results.json --plot docs/images     needs matplotlib

__main__.py   runs, reports or plots
tasks.py      three tasks of the demo base, and three of a real model (`make real-model`)
settings.py   what is run
training.py   soft prompts by server/tuning, LoRA by PEFT, all weights by a plain loop
judging.py    scores through the engine that serves
results.py    the file of what was found
switching.py  what switching task takes
report.py     tables
plots.py      pictures
"""
