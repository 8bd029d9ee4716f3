"""The answer that a request gets alone, straight from the script: no engine, no cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from server.engine.events import (
    EngineEvent,
    FinishReason,
    PromptProcessed,
    RequestFailed,
    RequestFinished,
    Scored,
)
from server.engine.request import Generate, Kind, Request, Score
from server.model.encoder_decoder.decoding import Decoding
from server.model.prefix import Prefix, PrefixKind
from server.model.sampling.sampling_row import SamplingRow
from server.structured_outputs.compiled import CompiledConstraint
from tests.engine.paged.requests import is_nan, prompt_event, reason_of, tokens_of
from tests.engine.paged.scripted_runner import (
    EOS,
    NAN_TOKEN,
    VOCAB_SIZE,
    History,
    encoder_history,
    history_of,
    scripted_logits,
)
from tests.model.row_by_row import sample_row
from tests.structured_outputs.forms import allowed_slowly


@dataclass(frozen=True, slots=True)
class AloneChoice:
    """One choice computed alone, straight from the script: no engine, no cache."""

    tokens: tuple[int, ...]
    finish_reason: FinishReason | None  # None: its next step would be NaN


def alone_fails(request: Request[Kind]) -> bool:
    """Whether the prompt itself is NaN."""
    return NAN_TOKEN in request.prompt_token_ids


def alone_history(request: Request[Kind], tokens: Sequence[int], decoding: Decoding | None = None) -> History:
    """The history after the request's soft prompt, its prompt, and tokens of an answer.

    With `decoding`, an encoder reads the prompt, and the first of `tokens` are those that the decoder is given.
    """
    prefix, prompt = request.prefix, request.prompt_token_ids
    if decoding is None:
        return history_of(prefix, [*prompt, *tokens])
    if prefix is not None and prefix.kind is PrefixKind.EMBEDDINGS:
        return history_of(None, tokens, encoder_history(prefix.tensor, prompt))
    return history_of(prefix, tokens, encoder_history(None, prompt))


def alone_choice(request: Request[Generate], choice: int, decoding: Decoding | None = None) -> AloneChoice:
    """Generate without an engine. The request must carry a seed or be greedy."""
    sampling, constraint = request.kind.sampling, request.kind.constraint
    tokens: list[int] = []
    if NAN_TOKEN in request.prompt_token_ids:
        return AloneChoice((), None)
    while len(tokens) < sampling.max_tokens:
        given = () if decoding is None else (decoding.start,)
        logits = torch.tensor(scripted_logits(alone_history(request, [*given, *tokens], decoding)))
        row = _alone_row(request, choice, tokens, decoding)
        token = sample_row(logits, row if constraint is None else _in_form(row, constraint, tokens))
        tokens.append(token)
        if len(tokens) == sampling.max_tokens and decoding is not None and decoding.forced_eos is not None:
            break
        if token in sampling.stop_token_ids or (token == EOS and not sampling.ignore_eos):
            return AloneChoice(tuple(tokens), FinishReason.STOP)
        if token == NAN_TOKEN and len(tokens) < sampling.max_tokens:
            return AloneChoice(tuple(tokens), None)
        if constraint is not None and not allowed_slowly(constraint, tokens, frozenset()):
            return AloneChoice(tuple(tokens), FinishReason.STOP)
    return AloneChoice(tuple(tokens), FinishReason.LENGTH)


def _in_form(row: SamplingRow, constraint: CompiledConstraint, tokens: Sequence[int]) -> SamplingRow:
    """The row with all tokens forbidden that cannot continue a form: each of the vocabulary is tried."""
    ends = frozenset() if row.params.ignore_eos else frozenset({EOS})
    allowed = allowed_slowly(constraint, tokens, ends)
    return replace(row, forbidden=row.forbidden | set(range(VOCAB_SIZE)).difference(allowed))


def alone_logprobs(prefix: Prefix | None, prompt: Sequence[int], given: Sequence[int]) -> list[float]:
    """Log-probabilities of given tokens after a prompt."""
    return [
        float(torch.tensor(scripted_logits(history_of(prefix, [*prompt, *given[:number]]))).log_softmax(-1)[token])
        for number, token in enumerate(given)
    ]


def _alone_score(request: Request[Score], continuation: Sequence[int], decoding: Decoding | None) -> float:
    """The sum of the log-probabilities of a continuation's tokens."""
    tokens = [] if decoding is None else [*decoding.given]
    total = 0.0
    for token in continuation:
        row = torch.tensor(scripted_logits(alone_history(request, tokens, decoding))).log_softmax(-1)
        total += float(row[token])
        tokens.append(token)
    return total


def _alone_row(request: Request[Generate], choice: int, output: list[int], decoding: Decoding | None) -> SamplingRow:
    sampling = request.kind.sampling
    forced = None
    if decoding is not None:
        forced = decoding.forced_bos if not output else None
        if len(output) == sampling.max_tokens - 1 and decoding.forced_eos is not None:
            forced = decoding.forced_eos
    ends = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else {EOS})
    return SamplingRow(
        0,
        sampling,
        sampling.seed or 0,
        choice=choice,
        num_output=len(output),
        prompt=request.prompt_token_ids if decoding is None else (decoding.start,),
        output=output,
        forbidden=frozenset(ends) if len(output) < sampling.min_tokens else frozenset(),
        forced=forced,
    )


def check_answer(request: Request[Kind], events: Sequence[EngineEvent], decoding: Decoding | None = None) -> None:
    """Assert that a request which was neither aborted nor disturbed got exactly what it gets alone."""
    last = events[-1]
    if isinstance(request.kind, Score):
        _check_scores(request, last, decoding)
        return
    alone = [alone_choice(request, choice, decoding) for choice in range(request.kind.num_choices)]
    if any(choice.finish_reason is None for choice in alone):
        assert isinstance(last, RequestFailed) and is_nan(last.cause), last
        for number, choice in enumerate(alone):
            got = tokens_of(events, number)
            assert got == choice.tokens[: len(got)]
        return
    assert isinstance(last, RequestFinished), last
    for number, choice in enumerate(alone):
        assert tokens_of(events, number) == choice.tokens
        assert reason_of(events, number) is choice.finish_reason
    _check_prompt_logprobs(request, prompt_event(events))


def _check_scores(request: Request[Score], last: EngineEvent, decoding: Decoding | None) -> None:
    read = [*request.prompt_token_ids, *(token for tokens in request.kind.continuations for token in tokens[:-1])]
    if NAN_TOKEN in read:
        assert isinstance(last, RequestFailed) and is_nan(last.cause), last
        return
    assert isinstance(last, Scored), last
    expected = [_alone_score(request, continuation, decoding) for continuation in request.kind.continuations]
    assert len(last.logprobs) == len(expected)
    assert all(abs(a - b) < 1e-4 for a, b in zip(last.logprobs, expected, strict=True))


def _check_prompt_logprobs(request: Request[Generate], event: PromptProcessed) -> None:
    if request.kind.sampling.prompt_logprobs is None:
        assert event.prompt_logprobs == ()
        return
    first, *others = event.prompt_logprobs
    assert first is None
    given = request.prompt_token_ids[1:]
    expected = alone_logprobs(request.prefix, request.prompt_token_ids[:1], given)
    got = [entry for entry in others if entry is not None]
    assert [entry.token_id for entry in got] == list(given)
    assert all(abs(entry.logprob - value) < 1e-4 for entry, value in zip(got, expected, strict=True))
