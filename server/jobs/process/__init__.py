"""Tuning jobs in a second process, for an engine whose weights have no backward pass.

messages.py  what the two processes say to each other, over a pair of sockets
child.py     the second process: started, proved, ended
tuner.py     the server's side: it starts the process again, and hands on what it reports

The process itself is `server/cli/tuning/process.py`.
"""
