"""ASGI layers around every request, outermost first.

request_id.py    one id per request
observe.py       a count, a duration and a span per request
drain.py         refusal of new requests while the server stops
body_limit.py    limits on a body's size and speed
door.py          refusal by the headers alone, before the route
"""
