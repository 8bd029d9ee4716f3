"""From token ids to answers, over an engine.

Routes and evaluation both use it, so that a score measures the text that would be served.

generation.py      the text of generate requests that run together
choice_text.py     the text of one choice, from its tokens
votes.py           one answer from the members' answers of an ensemble
label_scores.py    log-probabilities of labels
head_outputs.py    probabilities and spans from the numbers of a head
single_results.py  requests that end in one result each
engine_failure.py  failures of the engine as exceptions
"""
