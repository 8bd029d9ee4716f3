"""The scripts that make the demo model and its soft prompts, which `server/demo` bundles.

``python -m demo.build`` rebuilds everything from nothing; ``README.md`` beside this file tells how well it works.

build.py          the whole build, step by step
catalog.py        the tasks, and how each prompt is tuned
data/             the text, from grammars and lexicons
tokenization.py   the tokenizer
pretrain.py       the base model
prompt_tuning.py  the soft prompts
evaluation.py     exact match
example_files.py  files of examples
report.py         the README's table of figures
"""
