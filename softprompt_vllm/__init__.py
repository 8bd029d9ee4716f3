"""Soft prompts inside vLLM: a KV connector that vLLM loads as a plugin, and what a front end needs to use it.

requests.py        the inputs of an engine: a request behind a soft prompt, a capture, the connector's configuration
claims.py          the digest that a request names: salts, parameters and announcements, made and read in one place
admission.py       which requests are refused, and why
prefix_file.py     keys and values of a soft prompt in one file
connector.py       the class that vLLM builds, once in the scheduler and once in each worker
scheduler_half.py  decides on requests, and plans the loads and captures of a step
residency.py       the memory of the soft prompts that the workers keep, as the scheduler counts it
worker_half.py     loads and captures keys and values in one worker
worker_calls.py    what a front end asks of the workers themselves: sizes, and the rows of tokens
kept_blocks.py     whole blocks of soft prompts on the host, with copies on the device
plan.py            the messages between scheduler and workers
cache_layout.py    the groups and sizes of vLLM's KV cache
supported.py       the models and settings of vLLM that are refused by name
front_end.py       the end of a front end ends its engine
settings.py        `kv_connector_extra_config`, read strictly
errors.py          the errors

Only connector.py and worker_calls.py import vLLM. This package imports neither the server nor the store.
"""
