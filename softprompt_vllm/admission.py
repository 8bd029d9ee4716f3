"""Which requests are refused: every lie about a soft prompt, and everything that would give a wrong answer behind one.

A refused request is never computed. Computed as plain text, its blocks would be shared with honest requests.
"""

from __future__ import annotations

from typing import Any

from softprompt_vllm.claims import Claim, Purpose, is_announced, read_parameters, read_salt
from softprompt_vllm.errors import Refused


def read_claim(request: Any, capture_key: str | None) -> Claim | None:
    """Return what a request of vLLM (`vllm.v1.request.Request`) claims, None for one without a soft prompt.

    Raises Refused where salt and parameters do not name the same, and where the request cannot be served.
    """
    salted, claim = read_salt(request.cache_salt), read_parameters(request.kv_transfer_params)
    if salted is None and claim is None:
        return None
    if claim is None:
        raise Refused("cache_salt names a soft prompt and kv_transfer_params do not; send both or none")
    if salted != (claim.purpose, claim.digest):
        raise Refused("cache_salt and kv_transfer_params do not name the same soft prompt")
    _check_features(request)
    if claim.purpose is Purpose.CAPTURE:
        _check_capture(request, claim, capture_key)
    else:
        _check_use(request, claim)
    return claim


def _check_features(request: Any) -> None:
    if request.lora_request is not None:
        raise Refused("LoRA behind a soft prompt is not supported; send the request without a LoRA adapter")
    if request.mm_features:
        raise Refused("images, audio and video behind a soft prompt are not supported; send text alone")
    if request.pooling_params is not None:
        raise Refused("pooling behind a soft prompt is not supported; send a generating request")
    if request.resumable:
        raise Refused("a prompt that is sent in pieces is not supported behind a soft prompt; send it whole")
    sampling = request.sampling_params
    for name in ("prompt_logprobs", "prompt_logprob_token_ids", "prompt_logprob_start"):
        if getattr(sampling, name, None) is not None:
            raise Refused(f"{name} behind a soft prompt is not supported; leave it out")


def _check_use(request: Any, claim: Claim) -> None:
    if request.prompt_embeds is not None:
        raise Refused("prompt_embeds behind a soft prompt are not supported; send prompt_token_ids")
    if request.num_prompt_tokens <= claim.num_virtual_tokens:
        raise Refused("the prompt has no text after its virtual tokens; add at least one token")
    if request.skip_reading_prefix_cache:
        raise Refused("skip_reading_prefix_cache would skip the soft prompt; leave it out")


def _check_capture(request: Any, claim: Claim, capture_key: str | None) -> None:
    if capture_key is None:
        raise Refused("captures are off; set capture_key in kv_connector_extra_config to turn them on")
    if not is_announced(claim, capture_key):
        raise Refused("the front end did not announce this capture")
    if request.prompt_embeds is None or request.prompt_token_ids is not None:
        raise Refused("a capture has the rows of its soft prompt as prompt_embeds, and no token ids")
    if request.num_prompt_tokens != claim.num_virtual_tokens:
        raise Refused("a capture has as many rows as virtual tokens")
    if not request.skip_reading_prefix_cache:
        raise Refused("a capture sets skip_reading_prefix_cache; blocks from the prefix cache would be missing")
