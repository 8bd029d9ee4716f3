"""One inference request, from its body to its response. `inference.py` has the order of the steps.

inference.py            resolve, plan, check, charge, run, answer, compare
plan.py                 the contracts of a call, a plan (the engine requests of a call) and an answer
completion_call.py      the body of a completion -> its plan
chat_call.py            the body of a chat completion -> its plan
classify_call.py        the body of a classification -> its plan
head_call.py            the same of a task with a head
embedding_call.py       the body of embeddings -> its plan
base_facts.py           what the base model says of heads, and which route answers which task
request_context.py      deadline, priority, salt, sticky key and payer
served_model.py         `model` -> the base model or a version
prompts.py              texts and messages -> token ids
sampling.py             parameters -> the engine's
structured.py           the form of the answers, of the request or the version
answer_form.py          the frame of an answer
completion_answer.py    events -> a completion's body or chunks
chat_answer.py          events -> a chat completion's body or chunks
classify_answer.py      scores -> probabilities of labels
head_answer.py          numbers of heads -> a classification's body
head_items.py           the entry of one input in it
embedding_answer.py     hidden states -> vectors
chunk_text.py           the JSON of a stream's chunks
logprobs.py             log-probabilities on the wire
usage.py                tokens of one request
batch_lines.py          lines of batches, answered without a connection
shadows.py              answers compared with a second version
disconnect.py           work that is cancelled when its client disconnects
"""
