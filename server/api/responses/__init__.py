"""Writing of answers and errors.

json_response.py      a body as JSON
event_stream.py       chunks as server-sent events
error_table.py        exceptions -> status and code, the one table
error_responses.py    exceptions -> the one error body
web_file.py           a file of a page, with its headers
documented.py         what routes say of their answers in the OpenAPI document
"""
