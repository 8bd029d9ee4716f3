"""What a generation configuration says of the begin and the end of an output, and what is not done."""

from __future__ import annotations

import logging

import pytest
from transformers import GenerationConfig

from server.model.encoder_decoder.decoding import Decoding, read_decoding
from server.model.errors import UnsupportedArchitecture


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"decoder_start_token_id": 0, "bos_token_id": 3}, Decoding(0)),
        ({"bos_token_id": 3}, Decoding(3)),
        ({"decoder_start_token_id": 2, "forced_bos_token_id": 5, "forced_eos_token_id": 7}, Decoding(2, 5, 7)),
        ({"decoder_start_token_id": 2, "forced_eos_token_id": [9, 4]}, Decoding(2, None, 4)),
    ],
)
def test_it_is_read_as_generate_reads_it(given, expected):
    """Of several forced ends, greedy decoding takes the lowest id."""
    assert read_decoding(GenerationConfig(**given)) == expected


def test_a_base_without_a_start_is_refused():
    """transformers' `generate` fails there, too."""
    with pytest.raises(UnsupportedArchitecture, match="names no decoder_start_token_id and no bos_token_id"):
        read_decoding(GenerationConfig())


def test_what_is_not_done_is_told_at_start(caplog):
    """One line names each setting and its value; a length penalty counts with beams alone."""
    with caplog.at_level(logging.WARNING):
        read_decoding(
            GenerationConfig(decoder_start_token_id=2, num_beams=4, no_repeat_ngram_size=3, length_penalty=2.0)
        )
    (record,) = caplog.records
    assert record.message.endswith("does not do: num_beams 4, no_repeat_ngram_size 3, length_penalty 2.0")


def test_a_configuration_that_asks_for_nothing_more_is_quiet(caplog):
    """Values that change no answer are none."""
    given = GenerationConfig(decoder_start_token_id=2, num_beams=1, length_penalty=2.0, min_length=0)
    caplog.clear()  # transformers says that the length penalty is idle
    read_decoding(given)
    assert caplog.records == []
