"""The only package that runs tensors.

base_model.py         loads the frozen base model
architecture.py       the facts that the engine needs of an architecture, and the check that it can be served
identity.py           the base model's fingerprint
loading/              the weights of a base model, as its files hold them
model_files.py        the files of a base model that transformers loads
embedding_layers.py   its embedding layers as they lie in these files
sampling_defaults.py  the sampling parameters of its generation_config.json
twin.py               the same weights with transformers' own attention
self_proof.py         compares both at start
proof_sequences.py    the sequences that it compares, by either path
rounding.py           how far half precision is off, by either path
float32_view.py       a half-precision model that computes in float32
runner.py             chunks in, logits out
encoder_decoder_runner.py  the runner of a base with an encoder
encoder_decoder_proof.py   the sequences of its proof
serving_runner.py     the runner that serves, with its KV cache
memory_guard.py       splits a batch when the device is out of memory
flat_batch.py         chunks of many sequences as one batch without padding
kv_cache.py           keys and values in blocks
memory.py             the number of blocks that fit into memory
prefix.py             a soft prompt as tensors
key_values.py         its keys and values, for engines other than ours
attention.py          the attention function that transformers calls, and its contract
attention_bias.py     numbers that are added to attention scores, as tables over positions
attention_backend.py  the choice of attention for a device
native_decode.py      a decode step on a CPU in one native call
paged_attention.py    attention in plain PyTorch operations: the reference
families/             attention of architectures that do not call transformers' interface
encoder_decoder/      bases of an encoder and a decoder
encoder/              bidirectional models that read whole sequences
gguf/                 a base model in one GGUF file
cpu/                  attention and linear layers for a CPU
gpu/                  attention and recorded steps for a CUDA device
sampling/             from logits to tokens
hidden_rows.py        hidden states of a step, beside its logits
heads/                what makes an answer of hidden states
transfer.py           copies from host memory to the device
allocator.py          returns freed memory to the system
errors.py             errors of the model layer
foreign.py            exceptions of other libraries become ours
"""
