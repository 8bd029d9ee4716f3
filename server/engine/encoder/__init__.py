"""Our engine for encoders: each request is one forward pass in one ragged batch, and a head. No KV blocks are kept.

options.py       sizes and limits, and the check of a request against them
engine.py        the step loop
open_request.py  a request while it waits
scheduler.py     the requests of the next step
"""
