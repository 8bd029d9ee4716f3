"""The engine for encoders: what each request gets, who comes first, and who fails with whom."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch

from server.engine.errors import (
    ContextExceeded,
    EngineOverloaded,
    NumbersOverflow,
    PromptEmpty,
    RequestRefused,
    StepFailed,
    TokenOutOfRange,
)
from server.engine.events import TERMINAL, Encoded, RequestFailed, RequestFinished
from server.engine.request import Generate, Request, SamplingParams, Score
from server.engine.thread.async_engine import AsyncEngine
from server.model.prefix import PrefixKind
from tests.engine.encoder.scripted_encoder import NAN_TOKEN, VOCAB_SIZE, Harness, TextHead, encode, make_prefix

EMBEDDINGS = make_prefix(PrefixKind.EMBEDDINGS, 5)
KEY_VALUES = make_prefix(PrefixKind.KEY_VALUES, 3)


def values(events):
    """What the one event of a request has."""
    (event,) = events
    assert isinstance(event, Encoded), event
    return event.values


def cause(events):
    """Why a request failed."""
    (event,) = events
    assert isinstance(event, RequestFailed), event
    return event.cause


def test_each_request_gets_its_own_rows():
    """Alone, behind embeddings and behind keys and values, in one step, as float32 arrays."""
    harness = Harness()
    alone = harness.add(encode("alone", [1, 2]))
    behind = harness.add(encode("behind", [3, 4, 5], prefix=EMBEDDINGS))
    cached = harness.add(encode("cached", [6], prefix=KEY_VALUES))
    harness.drain()
    assert harness.runner.batches == [3]
    np.testing.assert_array_equal(values(alone), np.array([[1, 0], [2, 0]], np.float32))
    np.testing.assert_array_equal(values(behind)[:, 0], [3, 4, 5])
    np.testing.assert_array_equal(values(cached), [[6, 3]])
    assert values(alone).dtype == np.float32


def test_a_step_has_a_limited_number_of_requests_and_rows():
    """Rows of an embeddings prefix count, keys and values do not. A request longer than the limit runs alone."""
    harness = Harness(max_num_seqs=3, max_batch_tokens=16)
    for index in range(4):
        harness.add(encode(f"short{index}", [1]))
    for index in range(2):
        harness.add(encode(f"long{index}", [1] * 6, prefix=EMBEDDINGS))
    harness.add(encode("huge", [1] * 20))
    harness.add(encode("last", [1] * 16, prefix=KEY_VALUES))
    harness.drain()
    assert harness.runner.batches == [3, 2, 1, 1, 1]
    assert all(isinstance(event, Encoded) for events in harness.events.values() for event in events)
    stats = harness.engine.stats
    assert (stats.num_steps, stats.num_finished, stats.num_prompt_tokens) == (5, 8, 4 + 12 + 20 + 16)
    assert stats.num_step_tokens == 4 + 22 + 20 + 16


def test_no_task_waits_behind_anothers_flood():
    """Tasks take turns by the rows that they were served; within a task the order is first come, first served."""
    harness = Harness(max_num_seqs=2)
    for index in range(8):
        harness.add(encode(f"flood{index}", task="flood"))
    harness.add(encode("other0", task="other"))
    harness.add(encode("other1", task="other"))
    harness.drain()
    assert harness.order.index("other1") < 4
    flood = [name for name in harness.order if name.startswith("flood")]
    assert flood == sorted(flood)


def test_a_better_priority_comes_first():
    """Whatever its task was served before."""
    harness = Harness(max_num_seqs=1)
    harness.add(encode("usual", task="a"))
    harness.add(encode("later", task="b", priority=1))
    harness.add(encode("sooner", task="a", priority=-1))
    harness.drain()
    assert harness.order == ["sooner", "usual", "later"]


def test_an_aborted_request_ends_once_and_is_not_computed():
    """Unknown ids, ended requests and single choices are ignored."""
    harness = Harness()
    events = harness.add(encode("gone"))
    kept = harness.add(encode("kept"))
    harness.engine.abort("kept", choice=0)
    harness.engine.abort("gone")
    harness.engine.abort("gone")
    harness.engine.abort("unknown")
    harness.drain()
    harness.engine.abort("kept")
    assert [type(event) for event in events] == [RequestFinished]
    assert len(kept) == 1
    assert harness.runner.batches == [1]
    assert (harness.engine.stats.num_aborted, harness.engine.stats.num_finished) == (1, 1)


def test_nan_in_one_request_fails_it_alone():
    """The others of its batch get their numbers."""
    harness = Harness()
    wrong = harness.add(encode("wrong", [1, NAN_TOKEN]))
    right = harness.add(encode("right", [1, 2]))
    harness.drain()
    assert isinstance(cause(wrong), NumbersOverflow)
    assert len(values(right)) == 2
    assert harness.engine.stats.num_failed == 1


def test_a_failing_head_fails_its_request_alone():
    """Its error is the cause."""
    harness = Harness()
    failure = ValueError("scripted")
    wrong = harness.add(encode("wrong", head=TextHead(failure)))
    right = harness.add(encode("right"))
    harness.drain()
    assert isinstance(cause(wrong), StepFailed)
    assert cause(wrong).__cause__ is failure
    assert len(values(right)) == 3


def test_a_failing_batch_fails_its_requests_and_nothing_else():
    """The next batch is computed. A device that is gone ends the thread."""
    harness = Harness(max_num_seqs=2)
    events = [harness.add(encode(f"r{index}")) for index in range(3)]
    harness.runner.fail_next = RuntimeError("scripted")
    harness.drain()
    assert all(isinstance(cause(failed), StepFailed) for failed in events[:2])
    assert len(values(events[2])) == 3
    assert harness.engine.stats.num_step_failures == 1
    harness.add(encode("again"))
    harness.runner.fail_next, harness.runner.is_broken = RuntimeError("scripted"), True
    with pytest.raises(RuntimeError, match="the device is gone"):
        harness.drain()


def test_out_of_memory_a_batch_is_computed_in_parts():
    """Only a request that does not fit alone fails."""
    harness = Harness(max_batch_tokens=32)
    harness.runner.max_rows = 6
    events = [harness.add(encode(f"r{index}")) for index in range(3)]
    large = harness.add(encode("large", [1] * 7))
    harness.drain()
    assert all(len(values(each)) == 3 for each in events)
    assert isinstance(cause(large).__cause__, torch.OutOfMemoryError)
    assert harness.engine.stats.num_out_of_memory == 2  # of four, and of two
    assert harness.engine.stats.num_step_failures == 0


def test_the_holders_are_the_tasks_that_wait():
    """There are no KV blocks; soft prompts on the device are counted."""
    harness = Harness(max_num_seqs=1)
    for index in range(3):
        harness.add(encode(f"r{index}", task="mood", prefix=EMBEDDINGS))
    harness.engine.step()
    usage = harness.engine.read_usage()
    (task,) = usage.tasks
    assert (task.task, task.num_waiting, task.num_running) == ("mood", 2, 0)
    assert usage.num_blocks == usage.num_cached_blocks == usage.num_empty_blocks == 0
    assert harness.engine.stats.num_resident_prefixes == 1


def test_the_door_refuses_by_name():
    """What an idle engine could not serve either."""
    options = Harness(max_context=8).options
    with pytest.raises(RequestRefused, match="this base model is an encoder, which writes no text"):
        options.check(Request("r", "", (1,), Generate(SamplingParams(max_tokens=1))))
    with pytest.raises(RequestRefused, match="this base model is an encoder, which writes no text"):
        options.check(Request("r", "", (1,), Score(((1,),))))
    with pytest.raises(PromptEmpty):
        options.check(encode("r", []))
    with pytest.raises(TokenOutOfRange):
        options.check(encode("r", [VOCAB_SIZE]))
    options.check(encode("r", [1] * 5, prefix=KEY_VALUES))
    for prefix, number in ((KEY_VALUES, 6), (EMBEDDINGS, 4)):
        with pytest.raises(ContextExceeded, match="the context holds 8 tokens"):
            options.check(encode("r", [1] * number, prefix=prefix))
    with pytest.raises(RequestRefused, match="there are 101 prompts"):
        options.check_together([None] * 101)


async def test_the_thread_drives_it():
    """Streams, a full queue, work between steps, and a client that leaves."""
    harness = Harness(max_num_seqs=2, max_open_requests=3)
    client = AsyncEngine(harness.engine, harness.options)
    gate = threading.Event()
    harness.runner.on_forward = lambda: gate.wait(20)
    async with client.running():
        assert client.max_context == 32
        streams = [client.stream(encode(f"r{index}", task=f"t{index}")) for index in range(3)]
        with pytest.raises(EngineOverloaded):
            client.stream(encode("more"))
        await streams[2].aclose()
        gate.set()
        events = [[event async for event in stream] for stream in streams[:2]]
        assert [len(values(each)) for each in events] == [3, 3]
        assert await client.between_steps(threading.current_thread) is client._thread
        async with asyncio.timeout(20):
            while client.stats.num_aborted + client.stats.num_finished < 3:
                await asyncio.sleep(0.001)
        assert client.is_alive
    assert all(isinstance(events[-1], TERMINAL) for events in harness.events.values())
