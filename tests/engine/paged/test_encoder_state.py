"""Encoder inputs and their blocks: computed once per request, shared by its forks, counted, freed and made again."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from server.engine.errors import ContextExceeded, RequestRefused
from server.engine.events import FinishReason
from server.engine.paged.holders import read_usage
from server.engine.paged.options import EngineOptions, check_request, check_together
from server.engine.request import Score
from server.model.encoder_decoder.decoding import Decoding
from server.model.flat_batch import Chunk, Cross, EncoderInput
from server.model.memory_guard import split
from server.model.prefix import PrefixKind
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, reason_of, text, tokens_of
from tests.engine.paged.scripted_runner import EOS, make_prefix
from tests.model.test_memory_guard import SmallDevice


def encoder_options(decoding: Decoding = Decoding(1), **changes) -> EngineOptions:  # noqa: B008  (frozen)
    """Roomy options of a base with an encoder."""
    return make_options(decoding=decoding, **({"max_encoder_positions": 96} | changes))


def test_an_input_is_encoded_once_for_all_choices_and_all_labels():
    """Forks read the blocks of their request; each request has blocks of its own, the same input or not."""
    harness = EngineHarness(encoder_options())
    harness.add(generate("choices", text(9), num_choices=3))
    harness.add(replace(generate("labels", text(9)), kind=Score(((1, 2), (3,), (4, 5, 6)))))
    harness.drain()
    assert harness.runner.num_encoded == 2
    harness.check_all()


def test_blocks_of_an_input_are_held_by_its_task_and_returned():
    """Nine tokens and six virtual ones take four blocks of four, beside the one of the output."""
    harness = EngineHarness(encoder_options())
    harness.add(generate("r", text(9), task="mine", prefix=make_prefix(1, 6), num_choices=2, max_tokens=3))
    harness.steps(2)
    (task,) = read_usage(harness.scheduler).tasks
    assert task.num_blocks == 4 + 2
    assert harness.engine.stats.num_resident_prefixes == 0, "rows before an input are no prefix of the cache"
    harness.drain()
    harness.check_all()


def test_keys_and_values_are_a_resident_prefix_of_the_decoder():
    """They are loaded once for two requests, whose inputs differ."""
    harness = EngineHarness(encoder_options())
    prefix = make_prefix(1, 6, PrefixKind.KEY_VALUES)
    for number in range(2):
        harness.add(generate(f"r{number}", text(9, number), prefix=prefix))
    harness.drain()
    assert harness.engine.stats.num_prefix_loads == 1
    harness.check_all()


def test_a_preempted_request_encodes_its_input_again():
    """Its blocks went to others; its output so far is found in the prefix cache or computed again."""
    options = encoder_options(num_blocks=15, max_prefix_blocks=2, max_num_seqs=4, max_batch_tokens=64)
    harness = EngineHarness(options)
    for number in range(4):
        harness.add(generate(f"r{number}", text(8, number), task=f"t{number}", max_tokens=14))
    while harness.engine.has_work:
        harness.steps(1)
        harness.check_books()
    assert harness.engine.stats.num_preemptions > 0
    assert harness.runner.num_encoded > 4
    harness.check_all()


def test_the_same_words_after_different_inputs_share_no_block():
    """What a decoder computes depends on what its encoder read: the hash chain starts from that, too."""
    harness = EngineHarness(encoder_options())
    ids = [generate(name, text(9, seed)) for name, seed in (("a", 1), ("again", 1), ("b", 2))]
    keys = [harness.engine._group(request, lambda _: None).sequences[0].block_keys[0] for request in ids]
    assert keys[0] == keys[1] != keys[2]


def test_inputs_count_against_the_tokens_of_a_step():
    """Two of ten do not fit into a step of sixteen; one of thirty runs whole, alone."""
    harness = EngineHarness(encoder_options(max_batch_tokens=16))
    for number in range(2):
        harness.add(generate(f"r{number}", text(10, number), task=f"t{number}"))
    harness.steps(1)
    assert (harness.engine.stats.num_running, harness.runner.num_encoded) == (1, 1)
    harness.steps(1)
    assert harness.runner.num_encoded == 2
    harness.add(generate("long", text(30), task="long"))
    harness.drain()
    harness.check_all()


def test_forced_tokens_begin_and_end_an_output():
    """An end that is forced at the limit is no end of the model's own."""
    harness = EngineHarness(encoder_options(Decoding(1, forced_bos=7, forced_eos=EOS)))
    events = harness.add(generate("r", text(5), max_tokens=4, ignore_eos=False, logit_bias=((EOS, -100.0), (7, -50.0))))
    harness.drain()
    tokens = tokens_of(events)
    assert (tokens[0], tokens[-1], len(tokens)) == (7, EOS, 4)
    assert 7 not in tokens[1:]
    assert reason_of(events) is FinishReason.LENGTH


def test_an_end_of_its_own_is_a_stop():
    """Before the limit nothing is forced."""
    harness = EngineHarness(encoder_options(Decoding(1, forced_eos=EOS)))
    events = harness.add(generate("r", text(5), max_tokens=4, ignore_eos=False, logit_bias=((EOS, 100.0),)))
    harness.drain()
    assert (tokens_of(events), reason_of(events)) == ((EOS,), FinishReason.STOP)


@pytest.mark.parametrize("room", [1, 3])
def test_a_device_that_is_too_small_encodes_in_parts(room):
    """A batch is cut between requests, and an input goes with the first part of its request."""
    harness = EngineHarness(encoder_options())
    harness.runner.__class__ = SmallDevice
    harness.runner.room = room
    for number in range(5):
        harness.add(generate(f"r{number}", text(9, number)))
    harness.drain()
    assert harness.engine.stats.num_out_of_memory > 0
    harness.check_all()


def test_only_the_first_part_of_a_chunk_brings_its_input():
    """The second reads what the first has stored."""
    chunk = Chunk((1, 2, 3), 0, (1,), None, Cross((2,), 4, EncoderInput(None, (1, 2, 3, 4))))
    (first,), (second,) = split([chunk], 2)
    assert first.cross is chunk.cross
    assert second.cross is not None
    assert (second.cross.block_table, second.cross.num_positions, second.cross.new) == ((2,), 4, None)


REFUSALS = {
    "input": (
        generate("r", text(95), prefix=make_prefix(1, 6)),
        ContextExceeded,
        "the encoder of the base model reads 96 tokens (--max-context): 6 virtual tokens + 95 prompt tokens = 101",
    ),
    "output": (
        generate("r", prefix=make_prefix(1, 6, PrefixKind.KEY_VALUES), max_tokens=90),
        ContextExceeded,
        "the decoder of the base model holds 96 tokens (--max-context): 6 virtual + 1 first + 90 new tokens = 97",
    ),
    "prompt log-probabilities": (
        generate("r", prompt_logprobs=0),
        RequestRefused,
        "the base model reads the prompt with an encoder, which predicts no tokens of it",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_could_never_be_served_is_refused_with_its_reason(name):
    """The encoder and the decoder have bounds of their own."""
    request, error, message = REFUSALS[name]
    with pytest.raises(error, match=re.escape(message)):
        check_request(request, encoder_options())


def test_rows_before_an_input_need_no_room_among_prefixes():
    """The budget of resident prefixes is for keys and values."""
    options = encoder_options(max_prefix_blocks=1)
    check_request(generate("r", prefix=make_prefix(1, 20)), options)
    check_together([make_prefix(1, 20), make_prefix(2, 20)], options)


def test_the_largest_request_that_passes_is_served():
    """Blocks of the input and of the output together are what the cache holds."""
    options = encoder_options(num_blocks=9, max_prefix_blocks=2)
    for length in range(1, 40):
        try:
            check_request(generate("r", text(length), max_tokens=7), options)
        except ContextExceeded as error:
            assert "KV cache holds 32 tokens" in str(error)
            break
        longest = length
    assert longest == 24
    harness = EngineHarness(options)
    harness.add(generate("r", text(longest), max_tokens=7))
    harness.drain(most=100)
    harness.check_all()
