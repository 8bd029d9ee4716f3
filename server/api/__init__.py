"""HTTP: routes, wire types, and the pure conversion between wire and engine.

application.py      the application around the services; refuses routes that declare no scope
services.py         what the routes work with          limits.py           what one request may ask for
routes/             one file a resource                wire/               bodies as they are on the wire

authentication.py   who may call what                  request_id.py       one id a request
body_limit.py       no body too large or too slow      upload.py           a checkpoint as it arrives
undeclared.py       what no route knows is refused
errors.py           what this layer refuses            error_table.py      exceptions -> HTTP, the one table
error_responses.py  exceptions -> the one error body   engine_failure.py   a failed request -> an exception

target.py           `model` -> base model or version   prompts.py          what a client wrote -> token ids
sampling.py         parameters -> the engine's         answer_form.py      what the answer is to look like
generate.py         request -> response                generation.py       engine events -> text events
choice_text.py      tokens -> the text of one choice   logprobs.py, usage.py
completion_answer.py, chat_answer.py                   text events -> body or chunks
classification.py   labels scored, softmax             disconnect.py       a client that goes away ends its work
file_upload.py      a file as it arrives       public_ids.py       ids as OpenAI's clients know them
tuning_request.py   a job as it is asked for   tuning_records.py   files and jobs -> bodies
event_stream.py     chunks -> server-sent events       json_response.py    a body -> a response

records.py          the store's records -> bodies      store_access.py     the store, off the event loop
paging.py           lists in pages                     openapi.py, route_responses.py, docs_page.py
"""
