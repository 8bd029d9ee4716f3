"""The checks of a request that do not depend on what an engine computes."""

from __future__ import annotations

from server.engine.errors import PromptEmpty, RequestRefused, TokenOutOfRange
from server.engine.request import Kind, Request


def check_prompt(request: Request[Kind], vocab_size: int) -> None:
    """Raise `RequestRefused` for an empty prompt, a kind of work without work, and token ids out of range."""
    if not request.prompt_token_ids:
        raise PromptEmpty("the prompt is empty: at least one token is needed")
    request.kind.check()
    given = [*request.prompt_token_ids, *request.kind.token_ids()]
    if min(given) < 0 or max(given) >= vocab_size:
        raise TokenOutOfRange(f"token ids must be from 0 to {vocab_size - 1}")


def check_number(num_requests: int, max_open_requests: int) -> None:
    """Raise `RequestRefused` for more requests of one answer than the queue could ever hold."""
    if num_requests > max_open_requests:
        raise RequestRefused(
            f"there are {num_requests} prompts (times the members of an ensemble); "
            f"this server holds at most {max_open_requests} at once (--max-waiting and --max-num-seqs)"
        )
