"""Access control: keys, scopes, quotas and overload.

access.py            every guard of a request in one object
authentication.py    the scope that each route declares and requires
undeclared.py        refusal of parameters and headers that a route does not declare
caller.py            the caller of a request and their rights
key_ring.py          the keys in memory, following the store
local_origins.py     the pages that may use a server without keys
quotas.py            requests and tokens per minute, concurrent requests
concurrency.py       concurrent requests per key over all servers of one Redis
overload.py          estimate of a request's wait
"""
