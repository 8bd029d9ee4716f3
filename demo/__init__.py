"""The scripts that make the demo model and its soft prompts, which `server/demo` bundles.

``python -m demo.build`` rebuilds everything from nothing. ``README.md`` beside this file has the scores.

build.py          the whole build, step by step
catalog.py        the tasks, and the tuning of each prompt
data/             the text, from grammars and lexicons
tokenization.py   the tokenizer
pretrain.py       the base model
prompt_tuning.py  the soft prompts
evaluation.py     exact match
example_files.py  files of examples
report.py         the README's table of figures
"""
