"""One server for two hours: everything that clients do, at once, while its tasks change and jobs tune beside it.

`make soak`, or `python -m tests.system.soak --minutes N`. `load` asks, `changes` changes, `failures` keeps what went
wrong for them, the rest judges the server.
"""
