"""Versions from examples (`tune`) and from a long prompt (`distil`), and scores of versions (`evaluate`).

commands.py       `softprompt tune`; carries out an order here or on a server
distil.py         `softprompt distil`
teacher.py        the teacher of a distillation on this machine
evaluate.py       `softprompt evaluate`
options.py        the options of both
order.py          the parameters of one run
local.py          a run on this machine
interruption.py   signals that wait for the end of a step
remote.py         a run on a server
conclusion.py     the end of a run on this machine: evaluate, save, publish
outcome.py        the result of a run, and its text
view.py           progress, drawn in a terminal or printed as lines
live_view.py      progress in a terminal: table, curve and bar
log_view.py       progress as lines
event_lines.py    the text of a run's events
loss_curve.py     the losses as one line of text
step_clock.py     time per step, and the time left
workbench.py      base model and store on this machine
scoring.py        scores on this machine's engine
examples_file.py  reads a file of examples
process.py        the process beside vLLM's engine that works on a server's jobs
http_jobs.py      files and jobs on a server
"""
