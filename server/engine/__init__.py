"""The engine: token ids in, token ids out. It knows no text, no HTTP and no SQL.

The files here are its port: callers import them alone. Each engine has a room of its own beside them.

client.py         the contract with the event loop
request.py        requests, and the kinds of work that they ask for
events.py         events, and the observers that see them
usage.py          the holders of batch, queue and KV blocks
event_stream.py   the events of one request, for its reader and for observers
checks.py         the checks of a request that all engines make
unobserved.py     an engine without its observers
errors.py         the errors of an engine
thread/           the thread of an engine of ours
paged/            our engine for models that write, over block tables
encoder/          our engine for models that only read
vllm/             vLLM's engine behind the same port
"""
