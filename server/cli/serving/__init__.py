"""`softprompt serve`: the process of a server.

serve.py          bind, load, listen, stop
serve_options.py  one option per setting
http_server.py    uvicorn, and how it stops
http_protocol.py  closes connections that make no progress
watchdog.py       ends the process if its engine is stuck
welcome.py        the text that is printed once the server is ready
"""
