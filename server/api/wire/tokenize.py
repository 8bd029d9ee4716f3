"""`POST /tokenize` and `POST /detokenize`."""

from __future__ import annotations

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.sampling import TokenIds


class TokenizeRequest(RequestBody):
    """A text to turn into token ids."""

    model: ModelName | None = None
    """A task reference or the base model's id. Default: the base model."""
    prompt: str
    """The text. The task's template is put around it."""
    add_special_tokens: bool | None = None
    """Default: the setting of the task's version, or else the tokenizer's own."""


class TokenizeResult(ResponseBody):
    """The token ids of a prompt, as the model would see them."""

    tokens: list[int]
    count: int
    """Number of `tokens`."""
    num_virtual_tokens: int
    """Number of virtual tokens of the soft prompt, which come before `tokens`."""
    max_model_len: int
    """Maximum number of tokens of a soft prompt, a prompt and its answer together."""


class DetokenizeRequest(RequestBody):
    """Token ids to turn into text."""

    model: ModelName | None = None
    """A task reference or the base model's id. Default: the base model."""
    tokens: TokenIds


class DetokenizeResult(ResponseBody):
    """The text of token ids, special tokens included."""

    prompt: str
    num_virtual_tokens: int
    """Number of virtual tokens that the model would see before the given tokens."""
