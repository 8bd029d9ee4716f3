"""From token ids to answers, over an engine: the text of choices, and how likely labels are.

The routes answer with it and evaluation scores with it, so that a score is of what would be served.
"""
