"""A long prompt becomes a soft prompt (context distillation: Askell et al. 2021, Snell et al. 2022).

The teacher is the base model with an instruction in its context. The student is the same base model behind a soft
prompt, without the instruction. The student learns the teacher's distribution of each token of the teacher's answers.

plan.py         the plan of a distillation
inputs.py       a file of inputs
self_study.py   inputs that the base model writes itself
studied.py      a job before and after its inputs are written
teacher.py      prompts of the teacher, and the limits that they must fit into
document.py    a document in chunks, and what to ask about each
questions.py   questions about a document that the base model writes
answers.py      the teacher's answers, written by the engine
state.py        the answers and the run after them as bytes, to resume from
fidelity.py     how near the student is to its teacher, and what it saves
"""
