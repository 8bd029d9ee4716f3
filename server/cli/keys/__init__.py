"""`softprompt key …` and `softprompt audit`.

commands.py  the commands
options.py   what a new key may do
backend.py   what they ask, and the two that answer: a server, a database
"""
