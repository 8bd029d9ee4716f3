"""`POST /tokenize` and `POST /detokenize`."""

from __future__ import annotations

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.sampling import TokenIds


class TokenizeRequest(RequestBody):
    """Turn a text into token ids."""

    model: ModelName
    """A task reference or the base model's id."""
    prompt: str
    """The text; a task's template is put around it."""
    add_special_tokens: bool | None = None
    """Default: as the task's version, or else the tokenizer, has it."""


class TokenizeResult(ResponseBody):
    """A prompt as the model would see it."""

    tokens: list[int]
    count: int
    """Number of `tokens`."""
    num_virtual_tokens: int
    """Virtual tokens of the soft prompt, which come before `tokens`."""
    max_model_len: int
    """Most positions of virtual tokens, prompt and answer together."""


class DetokenizeRequest(RequestBody):
    """Turn token ids into text."""

    model: ModelName
    """A task reference or the base model's id."""
    tokens: TokenIds


class DetokenizeResult(ResponseBody):
    """The text of token ids, special tokens included."""

    prompt: str
    num_virtual_tokens: int
    """Virtual tokens that the model would see before them."""
