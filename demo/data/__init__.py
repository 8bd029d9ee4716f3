"""The synthetic text that the demo model is made from: one module per skill, and lexicons beside them.

corpus.py     the lines of pre-training
example.py    an input with its output, and its split
grammar.py    text from phrases with choices
surface.py    variations of typing
dates.py      dates and their ISO form
intent.py     messages of customers and their intents
language.py   sentences of five languages
numbers.py    numbers in words
sentiment.py  opinions
"""
