"""What every request passes, outermost first.

request_id.py    one id per request
observe.py       a count, a duration and a span per request
drain.py         no new work once the server ends
body_limit.py    no body too large or too slow
"""
