"""The sampling parameters that a base model brings along, in its `generation_config.json`."""

from __future__ import annotations

import logging
from typing import Any

from prompts_store.errors import InvalidManifest
from prompts_store.generation_defaults import parse_defaults

logger = logging.getLogger(__name__)

_NAMES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def sampling_defaults(generation_config: object) -> dict[str, Any]:
    """Return the parameters that a generation configuration of transformers sets. Without sampling, temperature is 0.

    A value that no request may have is left out, with a warning.
    """
    found: dict[str, Any] = {}
    for name in _NAMES:
        try:
            found |= parse_defaults({name: getattr(generation_config, name, None)})
        except InvalidManifest as error:
            logger.warning("the base model's generation_config is ignored in part: %s", error)
    if getattr(generation_config, "do_sample", None) is False:
        found["temperature"] = 0.0
    if found:
        own = ", ".join(f"{name} {value:g}" for name, value in found.items())
        logger.info("chats without sampling parameters have the base model's own: %s", own)
    return found
