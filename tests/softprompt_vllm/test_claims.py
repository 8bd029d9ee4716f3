"""The digest in salts and parameters."""

from __future__ import annotations

import pytest

from softprompt_vllm.claims import Claim, Purpose, announcement_of, is_announced, read_parameters, read_salt, salt_of
from softprompt_vllm.errors import InvalidInputs, Refused
from tests.softprompt_vllm.fakes import DIGEST, KEY, OTHER


@pytest.mark.parametrize("caller", ["", "tenant", f"softprompt:{OTHER}:", "a:b"])
def test_a_salt_is_read_back_whatever_the_caller_adds(caller):
    """A caller's salt cannot change the digest."""
    assert read_salt(salt_of(Purpose.USE, DIGEST, caller)) == (Purpose.USE, DIGEST)


def test_purposes_and_callers_have_salts_of_their_own():
    """Blocks of a capture, of two callers and of two soft prompts are never shared."""
    salts = {
        salt_of(purpose, digest, caller) for purpose in Purpose for digest in (DIGEST, OTHER) for caller in ("", "x")
    }
    assert len(salts) == 8


@pytest.mark.parametrize("salt", [None, "", "tenant", 7])
def test_other_salts_are_not_ours(salt):
    """A request without a soft prompt keeps its salt."""
    assert read_salt(salt) is None


@pytest.mark.parametrize(
    "salt", ["softprompt", "softprompt:", f"softprompt:{DIGEST}", f"softprompt:{DIGEST.upper()}:x"]
)
def test_a_malformed_salt_of_ours_is_refused(salt):
    """No salt looks like ours and escapes the comparison."""
    with pytest.raises(Refused, match="names a digest"):
        read_salt(salt)


def test_a_digest_of_another_form_makes_no_salt():
    """A front end learns of its mistake at once."""
    with pytest.raises(InvalidInputs, match="64 lowercase"):
        salt_of(Purpose.USE, "../etc/passwd")


@pytest.mark.parametrize("purpose", list(Purpose))
def test_parameters_are_read_back(purpose):
    """What the front end writes is what the connector reads."""
    claim = Claim(purpose, DIGEST, 5, "mac" if purpose is Purpose.CAPTURE else "")
    assert read_parameters(claim.parameters) == claim


@pytest.mark.parametrize("parameters", [None, {}, {"do_remote_prefill": True}, "text", [1]])
def test_parameters_of_others_are_not_ours(parameters):
    """Only the two keys make a claim."""
    assert read_parameters(parameters) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_virtual_tokens": True}, "not a number"),
        ({"num_virtual_tokens": "5"}, "not a number"),
        ({"num_virtual_tokens": 0}, "not a number"),
        ({"num_virtual_tokens": None}, "not a number"),
        ({"soft_prompt": "../" + DIGEST[3:]}, "64 lowercase"),
        ({"soft_prompt": [DIGEST]}, "64 lowercase"),
        ({"soft_prompt": DIGEST + "\n"}, "64 lowercase"),
        ({"soft_prompt_capture": DIGEST}, "at once"),
        ({"do_remote_prefill": True}, "'do_remote_prefill'"),
        ({3: 4}, "'3'"),
    ],
)
def test_malformed_parameters_are_refused(change, message):
    """Every field is checked before anything is done with it."""
    with pytest.raises(Refused, match=message):
        read_parameters({"soft_prompt": DIGEST, "num_virtual_tokens": 5} | change)


def test_an_announcement_holds_for_one_digest_one_size_and_one_key():
    """It cannot be carried over."""
    made = announcement_of(KEY, DIGEST, 5)
    assert is_announced(Claim(Purpose.CAPTURE, DIGEST, 5, made), KEY)
    for claim, key in [
        (Claim(Purpose.CAPTURE, OTHER, 5, made), KEY),
        (Claim(Purpose.CAPTURE, DIGEST, 6, made), KEY),
        (Claim(Purpose.CAPTURE, DIGEST, 5, made), "x" * 64),
        (Claim(Purpose.CAPTURE, DIGEST, 5, ""), KEY),
        (Claim(Purpose.CAPTURE, DIGEST, 5, "\ud800"), KEY),
    ]:
        assert not is_announced(claim, key)
