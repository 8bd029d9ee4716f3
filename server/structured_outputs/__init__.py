"""Structured answers: which tokens may come next, so that an answer has the form that was asked for.

constraint.py   the form of an answer, read from the fields that name it
json_schema.py  the JSON schemas that are supported, and bounds on them
references.py   `$ref` in a schema: what it names, and how far it leads
limits.py       bounds on what a caller sends
grammar.py      a form as a grammar of llguidance
vocabulary.py   the bytes of a base model's tokens
compiler.py     compiles forms off the event loop
kept.py         the compiled forms that were used last
compiled.py     a compiled form, and where one answer stands in it
masks.py        the masks of the next tokens, computed on threads of their own
errors.py       the errors of all of these
"""
