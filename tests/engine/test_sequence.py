"""What a sequence says of itself, for each kind."""

from __future__ import annotations

from server.engine.request import GenerateRequest, SamplingParams, ScoreRequest
from server.engine.sequence import RequestGroup, Sequence, SequenceKind
from tests.engine.fakes import make_prefix


def group_of(request) -> RequestGroup:
    return RequestGroup(request, lambda event: None, seed=7, arrival=3)


def generate_group(**changes) -> RequestGroup:
    sampling = SamplingParams(max_tokens=4, prompt_logprobs=changes.pop("prompt_logprobs", None))
    return group_of(GenerateRequest("r", "t", (5, 6, 7), sampling, **changes))


def test_choices_wait_for_the_first_to_compute_the_prompt():
    first, *others = generate_group(num_choices=3).sequences
    assert first.pending_forks == others
    assert not first.is_unforked
    assert all(other.is_unforked for other in others)
    assert [sequence.choice for sequence in (first, *others)] == [0, 1, 2]


def test_choices_do_not_share_their_lists_of_tokens():
    first, second = generate_group(num_choices=2).sequences
    first.tokens.append(1)
    assert second.tokens == [5, 6, 7]


def test_a_generating_sequence_computes_all_it_has():
    (sequence,) = generate_group().sequences
    assert (sequence.num_target, sequence.num_remaining, sequence.num_output) == (3, 3, 0)
    sequence.num_computed = 3
    sequence.tokens.append(9)
    assert (sequence.num_target, sequence.num_remaining, sequence.num_output) == (4, 1, 1)


def test_a_scored_sequence_never_reads_its_last_token():
    group = group_of(ScoreRequest("s", "t", (5, 6), ((7, 8, 9),)))
    sequence = Sequence(group, SequenceKind.SCORE, 0, [5, 6, 7, 8, 9], num_prompt=2)
    assert (sequence.num_target, sequence.num_given) == (4, 5)


def test_a_score_request_begins_with_its_stem_alone():
    group = group_of(ScoreRequest("s", "t", (5, 6), ((7,), (8, 9))))
    (stem,) = group.sequences
    assert stem.kind is SequenceKind.STEM
    assert stem.next_score is None
    assert group.scores == [None, None]


def test_prompt_log_probabilities_are_wanted_from_the_second_token_on():
    (sequence,) = generate_group(prompt_logprobs=0).sequences
    assert sequence.next_score == 1
    sequence.scores = [None, None]  # type: ignore[list-item]
    assert sequence.next_score is None


def test_virtual_tokens_come_from_the_prefix():
    (bare,) = generate_group().sequences
    (prompted,) = generate_group(prefix=make_prefix(1, 6)).sequences
    assert (bare.num_virtual, prompted.num_virtual) == (0, 6)
    assert bare.block_keys != prompted.block_keys


def test_a_group_is_complete_when_all_its_sequences_have_ended():
    group = generate_group(num_choices=2)
    group.sequences[0].is_finished = True
    assert not group.is_complete
    group.sequences[1].is_finished = True
    assert group.is_complete
