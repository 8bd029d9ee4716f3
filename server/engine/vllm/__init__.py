"""vLLM's engine behind the port: soft prompts are brought by the connector `softprompt_vllm`.

engine.py          the client: it accepts requests, and its streams have their events
options.py         sizes and limits, and the check of a request against them
generating.py      a generate request: one sequence per choice
scoring.py         a score request: one sequence per inner node of the continuations' trie
open_request.py    what all kinds of open requests have in common
sequences.py       runs one sequence in its turn, behind its soft prompt
admission.py       whose turn it is: fair between tasks, within the sequences and soft prompts that fit
batch_share.py     whether a sequence of a batch may begin beside live ones
soft_prompts.py    captures soft prompts and writes their files before they are used
inputs.py          a sequence as vLLM takes it: ids, salt, sampling parameters
forms.py           the form of an answer, as it is handed to vLLM's process
core_forms.py      forms in vLLM's process: compiled, cached, masked
core_scheduler.py  vLLM's scheduler with these forms; imported in vLLM's process alone
backend.py         what this engine needs of vLLM
proof.py           a captured soft prompt against its rows given with the request
start.py           vLLM itself: the only file of the server's process that imports it
engine_args.py     the arguments of vLLM's engine, the operator's and ours
"""
