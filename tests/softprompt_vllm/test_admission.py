"""One test per lie that a client could tell, and per request that would be answered wrongly."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from softprompt_vllm.admission import read_claim
from softprompt_vllm.claims import Purpose, salt_of
from softprompt_vllm.errors import Refused
from tests.softprompt_vllm.fakes import DIGEST, KEY, OTHER, FakeRequest, capture, use


def _refused(request, message, key=KEY):
    with pytest.raises(Refused, match=message):
        read_claim(request, key)


def test_honest_requests_are_read():
    """A use, a capture and a request without a soft prompt."""
    assert read_claim(use(), KEY).purpose is Purpose.USE
    assert read_claim(capture(), KEY).purpose is Purpose.CAPTURE
    assert read_claim(FakeRequest(cache_salt="tenant", prompt_token_ids=[1]), KEY) is None


def test_a_digest_without_its_salt():
    """Its blocks would be shared with plain text."""
    _refused(replace(use(), cache_salt=None), "do not name the same")


def test_a_salt_without_its_digest():
    """Placeholders would be computed as text, into blocks that honest requests share."""
    _refused(replace(use(), kv_transfer_params=None), "send both or none")


def test_a_salt_of_another_digest():
    """The blocks of one soft prompt would be read for another."""
    _refused(replace(use(), cache_salt=salt_of(Purpose.USE, OTHER)), "do not name the same")


def test_the_salt_of_a_capture_on_a_use():
    """A use could read the blocks of an unfinished capture."""
    _refused(replace(use(), cache_salt=salt_of(Purpose.CAPTURE, DIGEST)), "do not name the same")


def test_the_salt_of_a_use_on_a_capture():
    """Rows of a client's own would be computed into blocks that honest requests share."""
    _refused(replace(capture(), cache_salt=salt_of(Purpose.USE, DIGEST)), "do not name the same")


def test_a_capture_that_nobody_announced():
    """A client's own rows would answer in the name of a digest."""
    claim = {**capture().kv_transfer_params, "announcement": "0" * 64}
    _refused(replace(capture(), kv_transfer_params=claim), "did not announce")


def test_a_capture_announced_for_another_size():
    """An announcement is no voucher for other rows."""
    claim = {**capture().kv_transfer_params, "num_virtual_tokens": 7}
    _refused(replace(capture(), kv_transfer_params=claim), "did not announce")


def test_a_capture_where_captures_are_off():
    """Files alone."""
    _refused(capture(), "captures are off", key=None)


def test_a_capture_of_text():
    """Token ids are no rows."""
    _refused(replace(capture(), prompt_token_ids=[1] * 6), "as prompt_embeds")


def test_a_capture_with_more_rows_than_virtual_tokens():
    """The rest would be computed and thrown away."""
    _refused(replace(capture(), prompt_embeds=torch.zeros(9, 8)), "as many rows")


def test_a_capture_that_reads_the_prefix_cache():
    """Positions from the cache are not computed, so they would be missing."""
    _refused(replace(capture(), skip_reading_prefix_cache=False), "skip_reading_prefix_cache")


def test_a_use_that_skips_the_prefix_cache():
    """vLLM would skip the soft prompt too, and compute placeholders as text."""
    _refused(replace(use(), skip_reading_prefix_cache=True), "skip the soft prompt")


def test_a_use_without_text():
    """Nothing is left to compute."""
    _refused(replace(use(), prompt_token_ids=[0] * 6), "no text")


def test_embeddings_behind_a_soft_prompt():
    """vLLM would take the first rows for the virtual positions."""
    _refused(replace(use(), prompt_token_ids=None, prompt_embeds=torch.zeros(9, 8)), "prompt_embeds")


@pytest.mark.parametrize("name", ["prompt_logprobs", "prompt_logprob_token_ids", "prompt_logprob_start"])
def test_log_probabilities_of_the_prompt(name):
    """vLLM would skip the soft prompt to compute them."""
    _refused(replace(use(), sampling_params=SimpleNamespace(**{name: 0})), name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_request": object()}, "LoRA"),
        ({"mm_features": [object()]}, "images"),
        ({"pooling_params": object()}, "pooling"),
        ({"resumable": True}, "in pieces"),
    ],
)
def test_features_that_were_not_proved(change, message):
    """Each is refused by name."""
    _refused(replace(use(), **change), message)
