"""`softprompt serve`: one process that serves.

serve.py          bind, load, listen, stop
serve_options.py  one option per setting
http_server.py    uvicorn, and how it stops
http_protocol.py  closes connections that make no progress
watchdog.py       ends the process when its engine is stuck
welcome.py        what is printed once the server is ready
"""
