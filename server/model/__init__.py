"""The only package that runs tensors.

base_model.py         loads the frozen base model
architecture.py       the facts that the engine needs of an architecture, and the check that it can be served
identity.py           the base model's fingerprint
model_files.py        the files of a base model that transformers loads
sampling_defaults.py  the sampling parameters of its generation_config.json
twin.py               the same weights with transformers' own attention
self_proof.py         compares both at start
proof_sequences.py    the sequences that it compares, by either path
rounding.py           how far half precision is off, by either path
float32_view.py       a half-precision model that computes in float32
runner.py             chunks in, logits out
serving_runner.py     the runner that serves, with its KV cache
memory_guard.py       splits a batch when the device is out of memory
flat_batch.py         chunks of many sequences as one batch without padding
kv_cache.py           keys and values in blocks
memory.py             the number of blocks that fit into memory
prefix.py             a soft prompt as tensors
attention.py          the attention function that transformers calls, and its contract
attention_backend.py  the choice of attention for a device
paged_attention.py    attention in plain PyTorch operations: the reference
gguf/                 a base model in one GGUF file
cpu/                  attention and linear layers for a CPU
gpu/                  attention and recorded steps for a CUDA device
sampling/             from logits to tokens
transfer.py           copies from host memory to the device
allocator.py          returns freed memory to the system
errors.py             errors of the model layer
foreign.py            exceptions of other libraries become ours
"""
