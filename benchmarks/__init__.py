"""Measurements of this engine beside its peers, and of how its cost grows. `python -m benchmarks --help`.

__main__.py             the benchmark
sizes.py                how much is measured
session.py              what its parts share: model, threads, contenders
machine_lock.py         keeps other work off the machine
folders.py              where models and results are kept
models.py               the models
gguf_file.py            their weights as llama.cpp reads them
tokenizer_stub.py       a tokenizer for random weights
workload.py             the requests
clients.py              sends them, all at once or one by one
contender.py            the contract of a contender
contenders/             this engine and its peers
process.py              starts a contender's process
worker.py               the contender's process
live_server.py          a server process and its clients
comparison.py           contenders side by side
single_stream.py        one request at a time
start.py                the CPU time of a start
promises/               what the design promises
growth.py               cost along one axis at a time
lower_bound.py          the time of a step's linear layers alone
against_lower_bound.py  the engine's steps against that
gpu/                    the benchmark on a GPU
records.py              measurements as lines of JSON
spread.py               medians, spread and ratios
thresholds.py           the thresholds
table.py                tables from records
plots.py                plots from records
vllm_cost.py            soft prompts in vLLM, by connector and by rows, beside this engine
store_growth.py         the store's times from 10 to 10,000 tasks
beside_peft/            this engine beside PEFT one by one: encoder-decoders, heads
old_and_new/            an earlier commit beside this one
weights/                weights of fewer bits beside float32
distillation.py         distilled prompts beside their teachers
distilled_prompts.py    these prompts
structured.py           answers with a form beside answers without
ensemble.py             ensembles against single soft prompts
tuning/                 tuning by default beside a sweep and other methods, on six tasks
tuning_memory.py        the memory that tuning adds
loading_memory.py       the memory that loading takes at its peak
resident_memory.py      the memory of a process as Linux counts it
"""
