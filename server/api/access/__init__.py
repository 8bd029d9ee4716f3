"""Who may call, and how much.

access.py            every guard of a request in one object
authentication.py    the scope that each route declares and asks for
undeclared.py       parameters and headers that no route knows are refused
caller.py            who calls, and what they may do
key_ring.py          the keys in memory
local_origins.py     which pages may use a server without keys
quotas.py            requests and tokens per minute, requests at once
concurrency.py       requests at once over all servers of one Redis
overload.py          whether an answer would come in time
"""
