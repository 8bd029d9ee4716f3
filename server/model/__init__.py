"""The only package that runs tensors.

base_model.py         loads the frozen base model
architecture.py       what the engine must know of an architecture, and which ones it refuses
identity.py           the base model's fingerprint
model_files.py        which files transformers loads
twin.py               the same weights with transformers' own attention
self_proof.py         compares both at start
runner.py             chunks in, logits out
serving_runner.py     the runner that serves, with its KV cache
memory_guard.py       splits a batch when the device is out of memory
flat_batch.py         chunks of many sequences as one batch without padding
kv_cache.py           keys and values in blocks
memory.py             how many blocks fit
prefix.py             a soft prompt as tensors
attention.py          the attention function that transformers calls, and its contract
attention_backend.py  which attention a device gets
paged_attention.py    attention in plain PyTorch operations: the reference
cpu/                  attention and linear layers for a CPU
gpu/                  attention and recorded steps for a CUDA device
sampling/             from logits to tokens
transfer.py           copies from host memory to the device
allocator.py          gives freed memory back to the system
errors.py             what can go wrong with the base model
foreign.py            exceptions of other libraries become ours
"""
