"""The contenders: each answers the same workload in its own way, in a process of its own.

peft_each.py              (a) PEFT, one request after the other
peft_batched.py           (b) PEFT, the requests of a task as one batch
peft_model.py             the model of both
transformers_batching.py  (c) transformers' continuous batching
vllm_engine.py            (d) vLLM
llama_cpp.py              (g) llama.cpp over HTTP
engine.py                 (e) this engine
http_server.py            (f) this server over HTTP
aborting.py               this engine, with clients that go away
"""
