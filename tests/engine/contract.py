"""What the port promises, as one suite that every engine of a decoder passes.

A subclass has the fixture `subject`: the engine, running, and what a test must know of its model.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from server.engine.client import EngineClient
from server.engine.errors import ContextExceeded, EngineOverloaded, EngineStopped, PromptEmpty, TokenOutOfRange
from server.engine.events import (
    TERMINAL,
    ChoiceFinished,
    FinishReason,
    RequestFailed,
    RequestFinished,
    Scored,
    TokenEvent,
)
from server.engine.request import Generate, Request, SamplingParams, Score
from server.model.prefix import Prefix

WAIT_S = 60


@dataclass
class Subject:
    """An engine that runs, and facts of its model.

    `make_prefix(number, num_virtual_tokens)` makes embeddings, `make_key_values` keys and values. `avoid` is a bias
    that every request has. `tolerance` is that of log-probabilities of one text in two batches. `observed` has the ids
    of requests that observers saw.
    """

    client: EngineClient
    vocab_size: int
    eos: int
    make_prefix: Callable[[int, int], Prefix]
    make_key_values: Callable[[int, int], Prefix]
    max_context: int
    max_open_requests: int
    avoid: tuple[tuple[int, float], ...] = ()
    tolerance: float = 1e-6
    observed: list[str] = field(default_factory=list)
    _count: int = 0

    def name(self) -> str:
        """An id that no other request has."""
        self._count += 1
        return f"contract-{id(self)}-{self._count}"

    def text(self, length: int, seed: int = 0) -> tuple[int, ...]:
        """Some tokens: neither the end token nor one to avoid."""
        return tuple(1 + (7 * place + 5 * seed + place * place) % (self.vocab_size - 3) for place in range(length))

    def generate(self, prompt=None, *, task="", prefix=None, n=1, salt=b"", **sampling) -> Request[Generate]:
        """A greedy request of six tokens that does not stop early, unless said otherwise."""
        values = {"max_tokens": 6, "temperature": 0.0, "ignore_eos": True, "logit_bias": self.avoid} | sampling
        kind = Generate(SamplingParams(**values), n)
        return Request(self.name(), task, prompt or self.text(5), kind, prefix, salt)

    def score(self, continuations, prompt=None, prefix=None, task="") -> Request[Score]:
        """A request that scores continuations."""
        return Request(self.name(), task, prompt or self.text(5), Score(tuple(continuations)), prefix)

    async def ask(self, request) -> list:
        """All events of a request."""
        async with asyncio.timeout(WAIT_S):
            return [event async for event in self.client.stream(request)]

    async def tokens(self, request) -> tuple[int, ...]:
        """The tokens of choice 0."""
        return tokens_of(await self.ask(request))

    async def scores(self, request) -> tuple[float, ...]:
        """The result of a score request."""
        (scored,) = [event for event in await self.ask(request) if isinstance(event, Scored)]
        return scored.logprobs

    async def idle(self) -> None:
        """Return once nothing runs or waits."""
        async with asyncio.timeout(WAIT_S):
            while self.client.stats.num_running + self.client.stats.num_waiting:
                await asyncio.sleep(0.005)


def tokens_of(events, choice=0):
    """The tokens of one choice."""
    return tuple(event.token_id for event in events if isinstance(event, TokenEvent) and event.choice == choice)


def reason_of(events, choice=0):
    """Why a choice ended."""
    ends = (TokenEvent, ChoiceFinished)
    (found,) = {e.finish_reason for e in events if isinstance(e, ends) and e.choice == choice and e.finish_reason}
    return found


def prompt_event(events):
    """The one event that says the prompt is processed."""
    (found,) = [event for event in events if type(event).__name__ == "PromptProcessed"]
    return found


class EngineContract:
    """The suite."""

    async def test_the_last_event_alone_is_terminal(self, subject):
        """Every accepted request ends once."""
        for request in (subject.generate(), subject.score([(1, 2), (3,)]), subject.generate(n=3)):
            events = await subject.ask(request)
            assert [isinstance(event, TERMINAL) for event in events] == [False] * (len(events) - 1) + [True]

    async def test_the_limit_ends_a_choice(self, subject):
        """`max_tokens` tokens come, and the last says why it is the last."""
        events = await subject.ask(subject.generate(max_tokens=7))
        assert len(tokens_of(events)) == 7
        assert reason_of(events) is FinishReason.LENGTH
        assert isinstance(events[-1], RequestFinished)

    async def test_the_prompt_is_reported_once_and_first(self, subject):
        """Before any token, whatever the number of choices."""
        events = await subject.ask(subject.generate(n=3))
        assert events[0] == prompt_event(events)

    async def test_no_new_token_is_an_answer_too(self, subject):
        """The prompt is computed, and nothing is generated."""
        events = await subject.ask(subject.generate(max_tokens=0))
        assert [type(event).__name__ for event in events] == ["PromptProcessed", "ChoiceFinished", "RequestFinished"]
        assert reason_of(events) is FinishReason.LENGTH

    async def test_greedy_answers_repeat(self, subject):
        """From an empty cache and from a full one."""
        answers = [await subject.tokens(subject.generate(subject.text(40))) for _ in range(3)]
        assert len(set(answers)) == 1

    async def test_mixed_tasks_are_answered_as_alone(self, subject):
        """Soft prompts of many lengths, and none, in one batch."""
        prefixes = [None, *(subject.make_prefix(number, size) for number, size in enumerate((2, 5, 8, 9), 1))]
        prefixes.append(subject.make_key_values(9, 6))
        requests = [
            subject.generate(subject.text(3 + 5 * length, length), task=f"t{number}", prefix=prefix)
            for number, prefix in enumerate(prefixes)
            for length in range(3)
        ]
        alone = [await subject.tokens(request) for request in requests]
        again = [Request(subject.name(), r.task, r.prompt_token_ids, r.kind, r.prefix, r.salt) for r in requests]
        assert await asyncio.gather(*map(subject.tokens, again)) == alone

    async def test_soft_prompts_are_kept_apart(self, subject):
        """The same text behind two soft prompts of one length, and without one, has three answers."""
        prefixes = [None, subject.make_prefix(1, 8), subject.make_prefix(2, 8), subject.make_key_values(3, 8)]
        found = set()
        for prefix in prefixes * 2:
            found.add(await subject.tokens(subject.generate(subject.text(20), prefix=prefix, max_tokens=16)))
        assert len(found) == len(prefixes)

    async def test_a_soft_prompt_is_loaded_once(self, subject):
        """Later requests find it."""
        prefix = subject.make_prefix(11, 6)
        await subject.tokens(subject.generate(prefix=prefix))
        loads = subject.client.stats.num_prefix_loads
        for seed in range(4):
            await subject.tokens(subject.generate(subject.text(6, seed), prefix=prefix))
        assert subject.client.stats.num_prefix_loads == loads

    async def test_first_uses_at_once_load_it_once(self, subject):
        """Requests that come together share the load."""
        prefix, loads = subject.make_prefix(12, 6), subject.client.stats.num_prefix_loads
        requests = [subject.generate(prefix=prefix) for _ in range(5)]
        assert len(set(await asyncio.gather(*map(subject.tokens, requests)))) == 1
        assert subject.client.stats.num_prefix_loads == loads + 1

    async def test_a_first_user_who_leaves_takes_nothing_along(self, subject):
        """A load that its first user no longer waits for serves the next."""
        prefix = subject.make_prefix(13, 7)
        left, stayed = subject.generate(prefix=prefix), subject.generate(prefix=prefix)
        stream = subject.client.stream(left)
        answer = asyncio.create_task(subject.tokens(stayed))
        await asyncio.sleep(0)
        await stream.aclose()
        assert await answer == await subject.tokens(subject.generate(prefix=prefix))

    async def test_cached_text_is_counted(self, subject):
        """The virtual tokens are not among the cached ones of the prompt."""
        for prefix in (None, subject.make_prefix(14, 10)):
            prompt = subject.text(70, 3)
            counts = []
            for _ in range(2):
                events = await subject.ask(subject.generate(prompt, prefix=prefix, salt=b"cached text"))
                counts.append(prompt_event(events).num_cached_tokens)
            assert counts[0] == 0 < counts[1] < len(prompt)

    async def test_callers_salts_part_the_cached_text(self, subject):
        """Nobody can tell by the cache what another caller asked, behind a soft prompt or not."""
        for prefix in (None, subject.make_prefix(15, 10)):
            prompt, answers, counts = subject.text(70, 4), set(), []
            for salt in (b"one salt", b"another salt"):
                events = await subject.ask(subject.generate(prompt, prefix=prefix, salt=salt))
                answers.add(tokens_of(events))
                counts.append(prompt_event(events).num_cached_tokens)
            assert counts == [0, 0]
            assert len(answers) == 1

    async def test_a_seed_repeats_its_answer_in_any_batch(self, subject):
        """Alone and beside others."""

        def request():
            return subject.generate(temperature=1.0, seed=5, max_tokens=12)

        alone = await subject.tokens(request())
        others = [subject.generate(temperature=1.0, seed=seed, max_tokens=12) for seed in range(20, 25)]
        answers = await asyncio.gather(*map(subject.tokens, [*others, request()]))
        assert answers[-1] == alone
        assert len(set(answers)) > 1

    async def test_choices_are_numbered_and_differ(self, subject):
        """Each has tokens and an end of its own, and a seed repeats them all."""
        answers = []
        for _ in range(2):
            events = await subject.ask(subject.generate(n=4, temperature=1.0, seed=3, max_tokens=12))
            answers.append([tokens_of(events, choice) for choice in range(4)])
            assert all(reason_of(events, choice) is FinishReason.LENGTH for choice in range(4))
        assert answers[0] == answers[1]
        assert len(set(answers[0])) > 1

    async def test_no_seed_draws_one(self, subject):
        """Two requests without a seed are not the same."""
        requests = [subject.generate(temperature=1.0, max_tokens=16) for _ in range(4)]
        assert len(set(await asyncio.gather(*map(subject.tokens, requests)))) > 1

    async def test_one_likely_token_is_the_greedy_one(self, subject):
        """`top_k` 1 and `top_p` 0 leave one token."""
        greedy = await subject.tokens(subject.generate())
        for limit in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}):
            assert await subject.tokens(subject.generate(temperature=1.0, **limit)) == greedy

    async def test_a_stop_token_ends_a_choice_and_is_reported(self, subject):
        """The token itself is the last."""
        greedy = await subject.tokens(subject.generate())
        events = await subject.ask(subject.generate(stop_token_ids=frozenset({greedy[2]})))
        end = greedy.index(greedy[2]) + 1
        assert tokens_of(events) == greedy[:end]
        assert reason_of(events) is FinishReason.STOP

    async def test_the_end_token_ends_a_choice(self, subject):
        """Unless it is to be ignored."""
        bias = (*subject.avoid, (subject.eos, 100.0))
        events = await subject.ask(subject.generate(ignore_eos=False, logit_bias=bias))
        assert tokens_of(events) == (subject.eos,)
        assert reason_of(events) is FinishReason.STOP
        ignored = await subject.ask(subject.generate(logit_bias=bias))
        assert tokens_of(ignored) == (subject.eos,) * 6

    async def test_no_end_comes_before_the_least_number_of_tokens(self, subject):
        """End tokens are forbidden until then."""
        bias = (*subject.avoid, (subject.eos, 100.0))
        events = await subject.ask(subject.generate(ignore_eos=False, min_tokens=3, logit_bias=bias))
        assert subject.eos not in tokens_of(events)[:3]
        assert tokens_of(events)[3:] == (subject.eos,)

    async def test_a_bias_decides(self, subject):
        """+100 chooses a token."""
        token = subject.text(3)[2]
        request = subject.generate(logit_bias=(*subject.avoid, (token, 100.0)))
        assert set(await subject.tokens(request)) == {token}

    async def test_a_frequent_token_is_penalised(self, subject):
        """A token that a bias chooses gives way once its penalty is larger."""
        token = subject.text(3)[2]
        bias = (*subject.avoid, (token, 14.0))
        answer = await subject.tokens(subject.generate(logit_bias=bias, frequency_penalty=2.0, max_tokens=24))
        assert answer[0] == token
        assert set(answer) > {token}

    async def test_a_present_token_is_penalised(self, subject):
        """Once, whatever the number of its places."""
        plain = await subject.tokens(subject.generate(max_tokens=16))
        penalised = await subject.tokens(subject.generate(max_tokens=16, presence_penalty=2.0))
        assert len(set(penalised)) >= len(set(plain))

    async def test_a_repeated_token_is_penalised(self, subject):
        """Those of the prompt count too, and virtual tokens count as nothing."""
        for prefix in (None, subject.make_prefix(16, 5)):
            request = subject.generate(
                subject.text(2), prefix=prefix, repetition_penalty=1000.0, max_tokens=4, logit_bias=()
            )
            answer = await subject.tokens(request)
            assert len(set(answer) | set(request.prompt_token_ids)) == 6

    async def test_log_probabilities_are_of_the_models_own_distribution(self, subject):
        """The most likely come first, and neither bias nor temperature changes them."""
        events = await subject.ask(subject.generate(num_logprobs=3))
        biased = await subject.ask(
            subject.generate(num_logprobs=3, max_tokens=1, temperature=0.7, logit_bias=(*subject.avoid, (4, 100.0)))
        )
        first = [event.logprob for event in events if isinstance(event, TokenEvent)]
        for logprob, token in zip(first, tokens_of(events), strict=True):
            values = [value for _, value in logprob.top]
            assert len(values) == 3 and values == sorted(values, reverse=True)
            assert logprob.token_id == token and logprob.logprob <= values[0] + subject.tolerance
        (other,) = [event.logprob for event in biased if isinstance(event, TokenEvent)]
        assert other.token_id == 4
        assert [token for token, _ in other.top] == [token for token, _ in first[0].top]

    async def test_no_likely_tokens_can_be_asked_for(self, subject):
        """`num_logprobs` 0 has the token's own alone; None has nothing."""
        own = await subject.ask(subject.generate(num_logprobs=0))
        none = await subject.ask(subject.generate())
        assert all(event.logprob.top == () for event in own if isinstance(event, TokenEvent))
        assert all(event.logprob is None for event in none if isinstance(event, TokenEvent))

    async def test_a_prompt_has_log_probabilities(self, subject):
        """One per token; nothing predicts the first. They are those of a score."""
        prompt = subject.text(12)
        events = await subject.ask(subject.generate(prompt, prompt_logprobs=2, max_tokens=1))
        first, *others = prompt_event(events).prompt_logprobs
        assert first is None and [one.token_id for one in others] == list(prompt[1:])
        (expected,) = await subject.scores(subject.score([prompt[-3:]], prompt[:-3]))
        assert sum(one.logprob for one in others[-3:]) == pytest.approx(expected, abs=10 * subject.tolerance)

    async def test_a_score_sums_the_log_probabilities_of_its_tokens(self, subject):
        """Behind a soft prompt and without one."""
        for prefix in (None, subject.make_prefix(17, 9)):
            events = await subject.ask(subject.generate(prefix=prefix, num_logprobs=0, max_tokens=3))
            tokens = tokens_of(events)
            logprobs = [event.logprob.logprob for event in events if isinstance(event, TokenEvent)]
            scores = await subject.scores(subject.score([tokens, tokens[:1], tokens[:2]], prefix=prefix))
            expected = [sum(logprobs), logprobs[0], sum(logprobs[:2])]
            assert scores == pytest.approx(expected, abs=10 * subject.tolerance)

    async def test_scores_of_the_whole_vocabulary_are_probabilities(self, subject):
        """However many continuations there are."""
        whole = await subject.scores(subject.score([(token,) for token in range(subject.vocab_size)]))
        assert math.fsum(map(math.exp, whole)) == pytest.approx(1.0, abs=1e-4)

    async def test_scores_know_their_soft_prompt(self, subject):
        """Two soft prompts score alike labels otherwise."""
        labels = [(1, 2), (1, 3), (2,)]
        found = [await subject.scores(subject.score(labels, prefix=subject.make_prefix(n, 6))) for n in (1, 2)]
        assert found[0] != pytest.approx(found[1], abs=1e-3)

    async def test_an_abort_ends_every_choice(self, subject):
        """Each is told so, then the request ends; what is unknown is ignored."""
        request = subject.generate(n=2, max_tokens=40)
        stream = subject.client.stream(request)
        await anext(stream)
        subject.client.abort("unknown")
        subject.client.abort(request.request_id)
        async with asyncio.timeout(WAIT_S):
            events = [event async for event in stream]
        assert isinstance(events[-1], RequestFinished)
        assert {reason_of(events, choice) for choice in (0, 1)} == {FinishReason.ABORTED}
        await subject.idle()

    async def test_one_choice_is_aborted_alone(self, subject):
        """Its neighbour goes on as if nothing had been."""
        expected = await subject.ask(subject.generate(n=2, max_tokens=40, temperature=1.0, seed=8))
        request = subject.generate(n=2, max_tokens=40, temperature=1.0, seed=8)
        stream = subject.client.stream(request)
        subject.client.abort(request.request_id, 0)
        async with asyncio.timeout(WAIT_S):
            events = [event async for event in stream]
        assert reason_of(events, 0) is FinishReason.ABORTED
        assert tokens_of(events, 1) == tokens_of(expected, 1)

    @pytest.mark.parametrize("how", ["aclose", "cancel", "drop", "deadline"])
    async def test_a_reader_who_leaves_frees_everything(self, subject, how):
        """In each way that there is to leave."""
        stream = subject.client.stream(subject.generate(prefix=subject.make_prefix(1, 5), n=2, max_tokens=40))
        await anext(stream)
        if how == "aclose":
            await stream.aclose()
        elif how == "cancel":
            reader = asyncio.create_task(_read(stream))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        elif how == "deadline":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.0001):
                    await _read(stream)
        del stream
        gc.collect()
        await subject.idle()
        assert subject.client.stats.num_leases == 0

    async def test_an_id_in_use_is_refused(self, subject):
        """The first request of the id goes on."""
        request = subject.generate(max_tokens=20)
        stream = subject.client.stream(request)
        with pytest.raises(ValueError, match="in use"):
            subject.client.stream(request)
        assert len(tokens_of([event async for event in stream])) == 20

    async def test_what_could_never_be_served_is_refused(self, subject):
        """Before there is a stream, by the kind of its fault."""
        too_long = subject.text(subject.max_context - 5)
        faults = [
            (subject.generate((subject.vocab_size,)), TokenOutOfRange),
            (subject.generate(stop_token_ids=frozenset({-1})), TokenOutOfRange),
            (subject.score([(subject.vocab_size,)]), TokenOutOfRange),
            (Request(subject.name(), "", (), subject.generate().kind), PromptEmpty),
            (subject.generate(too_long, max_tokens=6), ContextExceeded),
            (subject.generate(too_long, prefix=subject.make_prefix(1, 5), max_tokens=1), ContextExceeded),
        ]
        for request, fault in faults:
            with pytest.raises(fault):
                subject.client.stream(request)
            with pytest.raises(fault):
                subject.client.check_servable(request)

    async def test_the_whole_context_can_be_used(self, subject):
        """Virtual tokens, prompt and answer together."""
        prefix = subject.make_prefix(1, 5)
        request = subject.generate(subject.text(subject.client.max_context - 9), prefix=prefix, max_tokens=4)
        assert len(await subject.tokens(request)) == 4

    async def test_a_full_queue_refuses(self, subject):
        """As many as are promised are accepted, and all of them are answered."""
        requests = [subject.generate(task=f"t{n}", max_tokens=2) for n in range(subject.max_open_requests)]
        streams = [subject.client.stream(request) for request in requests]
        with pytest.raises(EngineOverloaded):
            subject.client.stream(subject.generate())
        assert {tokens_of([event async for event in stream]) for stream in streams} == {
            await subject.tokens(subject.generate(max_tokens=2))
        }

    async def test_a_cut_fails_what_is_open(self, subject):
        """Each stream ends, and says that the engine stopped."""
        requests = [subject.generate(n=2, max_tokens=40), subject.score([(1, 2)])]
        streams = [subject.client.stream(request) for request in requests]
        subject.client.cut_off()
        for stream in streams:
            events = [event async for event in stream]
            assert isinstance(events[-1], RequestFailed)
            assert isinstance(events[-1].cause, EngineStopped)

    async def test_observers_see_clients_alone(self, subject):
        """Not what the server itself asks."""
        mine, theirs = subject.generate(), subject.generate()
        assert [event async for event in subject.client.unobserved.stream(mine)]
        await subject.tokens(theirs)
        assert theirs.request_id in subject.observed
        assert mine.request_id not in subject.observed

    async def test_counts_follow_what_was_done(self, subject):
        """Finished, aborted and failed requests, tokens computed, cached and generated."""
        await subject.idle()
        before = subject.client.stats
        await subject.ask(subject.generate(subject.text(9, 33), n=2, max_tokens=5))
        stream = subject.client.stream(aborted := subject.generate(max_tokens=40))
        subject.client.abort(aborted.request_id)
        assert [event async for event in stream]
        await subject.idle()
        after = subject.client.stats
        assert after.num_finished - before.num_finished == 1
        assert after.num_aborted - before.num_aborted == 1
        assert after.num_failed == before.num_failed
        assert after.num_generated_tokens - before.num_generated_tokens >= 10
        assert after.num_prompt_tokens + after.num_cached_tokens > before.num_prompt_tokens + before.num_cached_tokens

    async def test_the_holders_of_blocks_add_up(self, subject):
        """At any time; the tasks whose sequences run or wait are named."""

        async def load(task, max_tokens):
            while True:
                await subject.ask(subject.generate(task=task, max_tokens=max_tokens))

        # Of lengths that differ: an engine that is idle between rounds shows itself idle.
        loads = [asyncio.create_task(load(f"t{number % 3}", 17 + 6 * number)) for number in range(6)]
        named = set()
        async with asyncio.timeout(WAIT_S):
            while named < {"t0", "t1", "t2"}:
                usage = subject.client.usage
                named |= {task.task for task in usage.tasks}
                held = sum(each.num_blocks for each in (*usage.tasks, *usage.prefixes)) + usage.num_other_blocks
                assert held + usage.num_cached_blocks + usage.num_empty_blocks == usage.num_blocks > 0
                await asyncio.sleep(0.01)
        for one in loads:
            one.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await subject.idle()

    async def test_many_tasks_share_a_small_engine(self, subject):
        """Each answer is the one that its soft prompt gives alone."""
        requests = [
            subject.generate(task=f"t{n}", prefix=subject.make_prefix(100 + n, 6), max_tokens=4) for n in range(30)
        ]
        together = await asyncio.gather(*map(subject.tokens, requests))
        for number in (0, 7, 29):
            alone = subject.generate(prefix=subject.make_prefix(100 + number, 6), max_tokens=4)
            assert await subject.tokens(alone) == together[number]
        assert subject.client.is_alive and not subject.client.is_wedged


async def _read(stream):
    return [event async for event in stream]
