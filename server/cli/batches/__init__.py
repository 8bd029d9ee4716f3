"""`softprompt batch`: a file of requests, answered by a running server.

commands.py  the command and its options
lines.py     the input file as lines of a batch
journal.py   what is already asked, beside the output file
remote.py    the batch on the server: begun, watched, collected
"""
