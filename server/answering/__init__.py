"""From token ids to answers, over an engine.

The routes answer with it and evaluation scores with it, so that a score is of what would be served.

generation.py      generate requests of one answer, as one stream of text
choice_text.py     the text of one choice, from its tokens
votes.py           one answer from the members of an ensemble
label_scores.py    how likely labels are
engine_failure.py  the engine's failures as exceptions
"""
