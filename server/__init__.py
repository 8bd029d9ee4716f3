"""softprompt-server: one frozen base model, many soft prompts, one batch.

cli/                  the `softprompt` command
loading.py            from settings to an application that serves
ray_serve.py          the same application in many replicas, by Ray Serve
app.py                the composition root: builds every part and connects them
engine_choice.py      the engine that the settings choose, with its base model
base_model_source.py  which base model is meant, and loading it
engine_setup.py       our engine's options, KV cache and runner
vllm_setup.py         vLLM's engine: its arguments, and the proof at start
tuning_setup.py       what works on tuning jobs: this process, or a second one beside vLLM's
api/                  HTTP: routes, wire types, event streams, authentication
jobs/                 tuning jobs, from the store's queue to a version
batches/              batches of requests, from the store's queue to their files
tuning/               from examples to a soft prompt
answering/            from token ids to answers: texts, label scores, votes
telemetry/            metrics and traces
tokenizer/            text to token ids and back
engine/               token ids only: sequences, scheduler, blocks, the step
soft_prompts/         which soft prompts are loaded, and which are resident
structured_outputs/   which tokens may come next, so that an answer has its form
model/                base model, KV cache, attention, sampling: all that runs tensors
demo/                 the bundled base model and its soft prompts
web/                  the page at `/`: the files that a browser runs
admin_key.py          how the admin key may look, and its file
vllm_args.py          arguments of vLLM's engine that the operator gives
engine_settings.py    settings of one engine: their types, and which engine reads which
settings.py           what `softprompt serve` can be set to
logging.py            one line per event, as text or as JSON
queue_worker.py       claims work from the store's queues, without loss when a server stops
store_follower.py     hands the store's changes to everything that answers from memory
background_task.py    work that ends with a context
threads.py            bounded thread pools, one per kind of waiting
"""

__version__ = "0.1.0"
