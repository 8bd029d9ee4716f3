"""Batches, from the store's queue to their files.

runner.py       claims batches, asks their lines and ends them
held_batch.py   one claimed batch: its lines are asked, their results kept
heartbeat.py    tells the store that this server works on a batch, and learns of its end
takeover.py     batches of servers that have stopped
input_file.py   the lines of an input file, read and checked
output_line.py  lines of the output file and of the error file
asker.py        the contract with what answers a line
"""
