"""How an encoder-decoder begins and ends an output, from its generation configuration."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from server.model.errors import UnsupportedArchitecture

logger = logging.getLogger(__name__)

# What `generate` reads of a generation configuration, with the values that ask for nothing.
_NOT_DONE: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "bad_words_ids": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None,),
    "exponential_decay_length_penalty": (None,),
}
_NOT_DONE_WITH_BEAMS: dict[str, tuple[Any, ...]] = {
    "length_penalty": (None, 1.0),
    "early_stopping": (None, False),
}


@dataclass(frozen=True, slots=True)
class Decoding:
    """Token ids. The decoder's input begins with `start`; an output begins with `forced_bos`.

    An output that has not ended before its last token ends with `forced_eos`. None forces nothing.
    """

    start: int
    forced_bos: int | None = None
    forced_eos: int | None = None

    @property
    def given(self) -> tuple[int, ...]:
        """What precedes any output: the start, and the token that it is forced to begin with."""
        return (self.start,) if self.forced_bos is None else (self.start, self.forced_bos)


def read_decoding(generation_config: Any) -> Decoding:
    """Read it as transformers' `generate` does.

    What a configuration asks for besides, and is not done, is logged. Raises `UnsupportedArchitecture` where no token
    begins an output.
    """
    start = _first(generation_config, "decoder_start_token_id")
    if start is None:
        start = _first(generation_config, "bos_token_id")
    if start is None:
        raise UnsupportedArchitecture("the base model names no decoder_start_token_id and no bos_token_id")
    _tell_what_is_not_done(generation_config)
    return Decoding(
        start, _first(generation_config, "forced_bos_token_id"), _first(generation_config, "forced_eos_token_id")
    )


def _first(generation_config: Any, name: str) -> int | None:
    """A token id; of several forced ones greedy decoding takes the lowest."""
    value = getattr(generation_config, name, None)
    if isinstance(value, (list, tuple)):
        return min((int(one) for one in value), default=None)
    return None if value is None else int(value)


def _tell_what_is_not_done(generation_config: Any) -> None:
    has_beams = (getattr(generation_config, "num_beams", None) or 1) > 1
    found = {
        name: value
        for name, nothing in (_NOT_DONE | (_NOT_DONE_WITH_BEAMS if has_beams else {})).items()
        if (value := getattr(generation_config, name, None)) not in nothing
    }
    if found:
        asked = ", ".join(f"{name} {value}" for name, value in found.items())
        logger.warning("the base model's generation_config asks for what this server does not do: %s", asked)
