"""`softprompt key …` and `softprompt audit`.

commands.py  the commands
options.py   the options of a new key
backend.py   the interface of the commands, with a server and with a database behind it
"""
