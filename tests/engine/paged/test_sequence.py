"""Sequences and groups: the counts that the engine plans by, for each kind of request."""

from __future__ import annotations

from server.engine.paged.score_group import ScoreGroup
from server.engine.paged.sequence import Sequence
from server.engine.request import Request, Score
from tests.engine.paged.requests import generate_group
from tests.engine.paged.scripted_runner import make_prefix

PROMPT = (5, 6, 7)


def score_group(*continuations: tuple[int, ...]) -> ScoreGroup:
    """A group that scores continuations of two tokens."""
    kind = Score(continuations)
    return ScoreGroup(Request("s", "t", (5, 6), kind), kind, lambda event: None, arrival=3)


def test_choices_wait_for_the_first_to_compute_the_prompt():
    """The others are its forks and stand in no queue."""
    first, *others = generate_group("r", PROMPT, num_choices=3).sequences
    assert first.pending_forks == others
    assert not first.is_unforked
    assert all(other.is_unforked for other in others)
    assert [sequence.choice for sequence in (first, *others)] == [0, 1, 2]


def test_choices_do_not_share_their_lists_of_tokens():
    """A token of one choice is none of another."""
    first, second = generate_group("r", PROMPT, num_choices=2).sequences
    first.tokens.append(1)
    assert second.tokens == [5, 6, 7]


def test_a_generating_sequence_computes_all_it_has():
    """Prompt and output alike."""
    (sequence,) = generate_group("r", PROMPT).sequences
    assert (sequence.num_target, sequence.num_remaining, sequence.num_output) == (3, 3, 0)
    sequence.num_computed = 3
    sequence.tokens.append(9)
    assert (sequence.num_target, sequence.num_remaining, sequence.num_output) == (4, 1, 1)


def test_a_scored_sequence_never_reads_its_last_token():
    """It is predicted only."""
    sequence = Sequence(score_group((7, 8, 9)), 0, [5, 6, 7, 8, 9], num_prompt=2, is_scored=True)
    assert (sequence.num_target, sequence.num_given) == (4, 5)


def test_a_score_request_begins_with_its_stem_alone():
    """The continuations fork from it later."""
    (stem,) = score_group((7,), (8, 9)).sequences
    assert not stem.is_scored
    assert stem.next_score is None


def test_prompt_log_probabilities_are_wanted_from_the_second_token_on():
    """The first has no token before it."""
    (sequence,) = generate_group("r", PROMPT, prompt_logprobs=0).sequences
    assert sequence.next_score == 1
    sequence.scores = [None, None]  # type: ignore[list-item]
    assert sequence.next_score is None


def test_virtual_tokens_come_from_the_prefix():
    """They begin the chain of cached blocks too."""
    (bare,) = generate_group("r", PROMPT).sequences
    (prompted,) = generate_group("r", PROMPT, prefix=make_prefix(1, 6)).sequences
    assert (bare.num_virtual, prompted.num_virtual) == (0, 6)
    assert bare.block_keys != prompted.block_keys


def test_a_group_is_complete_when_all_its_sequences_have_ended():
    """One that has not ended keeps it open."""
    group = generate_group("r", PROMPT, num_choices=2)
    group.sequences[0].is_finished = True
    assert not group.is_complete
    group.sequences[1].is_finished = True
    assert group.is_complete
