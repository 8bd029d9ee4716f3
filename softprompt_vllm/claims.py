"""The soft prompt that a request claims: its digest in the salt and in the parameters, made and read here alone.

vLLM shares blocks between requests of equal tokens and equal salt. So the digest in the salt is what keeps the
blocks of two soft prompts apart, and a request must name the same digest in its parameters: admission.py compares them.

    use      cache_salt  softprompt:DIGEST:CALLER'S SALT
             parameters  {"soft_prompt": DIGEST, "num_virtual_tokens": N}
    capture  cache_salt  softprompt-capture:DIGEST:
             parameters  {"soft_prompt_capture": DIGEST, "num_virtual_tokens": N, "announcement": HMAC}

A digest has 64 lowercase hexadecimal digits. The announcement proves that the front end, which alone has the capture
key, asked for the capture.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from softprompt_vllm.errors import InvalidInputs, Refused

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SALT = re.compile(r"softprompt(-capture)?:([0-9a-f]{64}):", re.ASCII)
_RESERVED = "softprompt"
_NUM = "num_virtual_tokens"
_ANNOUNCEMENT = "announcement"


class Purpose(StrEnum):
    """What a request does with a soft prompt. The value is its key in the parameters."""

    USE = "soft_prompt"
    CAPTURE = "soft_prompt_capture"


@dataclass(frozen=True, slots=True)
class Claim:
    """The parameters of a request. `announcement` is empty but for a capture."""

    purpose: Purpose
    digest: str
    num_virtual_tokens: int
    announcement: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The claim as `kv_transfer_params`."""
        fields: dict[str, Any] = {self.purpose.value: self.digest, _NUM: self.num_virtual_tokens}
        return fields | ({_ANNOUNCEMENT: self.announcement} if self.purpose is Purpose.CAPTURE else {})


def is_digest(value: object) -> bool:
    """Whether a value is 64 lowercase hexadecimal digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def check_digest(digest: str) -> None:
    """Raise InvalidInputs unless a digest has 64 lowercase hexadecimal digits."""
    if not is_digest(digest):
        raise InvalidInputs("a digest has 64 lowercase hexadecimal digits")


def salt_of(purpose: Purpose, digest: str, caller_salt: str = "") -> str:
    """Return the `cache_salt` of a request. Raises InvalidInputs for a wrong digest."""
    check_digest(digest)
    return f"{_RESERVED}{'-capture' if purpose is Purpose.CAPTURE else ''}:{digest}:{caller_salt}"


def announcement_of(capture_key: str, digest: str, num_virtual_tokens: int) -> str:
    """Return the HMAC-SHA256 by which a front end announces a capture to the connector."""
    message = f"{Purpose.CAPTURE.value}:{digest}:{num_virtual_tokens}"
    return hmac.new(capture_key.encode(), message.encode(), hashlib.sha256).hexdigest()


def is_announced(claim: Claim, capture_key: str) -> bool:
    """Whether the announcement of a capture was made with this key."""
    expected = announcement_of(capture_key, claim.digest, claim.num_virtual_tokens)
    return hmac.compare_digest(expected.encode(), claim.announcement.encode(errors="replace"))


def read_salt(salt: object) -> tuple[Purpose, str] | None:
    """Return the purpose and digest in a salt, None for a salt of another kind. Raises Refused for a malformed one."""
    if not isinstance(salt, str) or not salt.startswith(_RESERVED):
        return None
    found = _SALT.match(salt)
    if found is None:
        raise Refused(f"a cache_salt that begins with {_RESERVED!r} names a digest as softprompt:DIGEST:SALT")
    return (Purpose.CAPTURE if found[1] else Purpose.USE), found[2]


def read_parameters(parameters: object) -> Claim | None:
    """Return the claim in `kv_transfer_params`, None if they name no soft prompt. Raises Refused for malformed ones."""
    if not isinstance(parameters, Mapping):
        return None
    purposes = [purpose for purpose in Purpose if purpose.value in parameters]
    if not purposes:
        return None
    if len(purposes) > 1:
        raise Refused("kv_transfer_params ask for a use and a capture at once; send two requests")
    (purpose,) = purposes
    digest, num = parameters[purpose.value], parameters.get(_NUM)
    announcement = parameters.get(_ANNOUNCEMENT, "") if purpose is Purpose.CAPTURE else ""
    known = {purpose.value, _NUM} | ({_ANNOUNCEMENT} if purpose is Purpose.CAPTURE else set())
    if unknown := sorted(str(key) for key in parameters if key not in known):
        raise Refused(f"kv_transfer_params have {unknown[0][:40]!r}, which is no field of a soft prompt")
    if not is_digest(digest):
        raise Refused("the digest in kv_transfer_params is not 64 lowercase hexadecimal digits")
    if type(num) is not int or num < 1:
        raise Refused("num_virtual_tokens in kv_transfer_params is not a number from 1")
    if not isinstance(announcement, str):
        raise Refused("the announcement in kv_transfer_params is not text")
    return Claim(purpose, digest, num, announcement)
