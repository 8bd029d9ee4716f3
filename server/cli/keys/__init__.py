"""`softprompt key …` and `softprompt audit`.

commands.py  the commands
backend.py   what they ask, and the two that answer: a server, a database
"""
