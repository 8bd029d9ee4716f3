"""`softprompt tune` and `softprompt evaluate`: from examples to a version, and how good versions are.

commands.py       `softprompt tune`
evaluate.py       `softprompt evaluate`
options.py        the options of `tune`
order.py          what one `tune` asks for
local.py          a run on this machine
interruption.py   signals that wait for the end of a piece
remote.py         a run in a server
conclusion.py     the end of a run on this machine: judge, save, publish
outcome.py        what is printed at the end
view.py           progress, live or line by line
workbench.py      base model and store on this machine
scoring.py        scores on this machine's engine
examples_file.py  reads a file of examples
http_jobs.py      files and jobs of a server
"""
