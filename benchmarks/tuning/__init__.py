"""How good tuning is by default, and beside other ways to teach one frozen base a task.

    python -m benchmarks.tuning results.json             run what the file lacks, one process a run
    python -m benchmarks.tuning results.json --report    print the tables of docs/tuning.md
    python -m benchmarks.tuning results.json --plot docs/images     needs matplotlib

`tasks.py` has three tasks of the demo base and three of a real model (`make real-model`), `settings.py` says what is
run, `training.py` trains, `judging.py` scores through the engine that serves, `results.py` keeps what was found,
`report.py` and `plots.py` show it.
"""
