"""What vLLM's engine does beyond the contract: soft prompts that go, an engine that dies, sequences in their turn."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
import torch

from server.engine.errors import EngineStopped, NumbersOverflow, PrefixTooLarge, RequestRefused, StepFailed
from server.engine.events import RequestFailed, RequestFinished, TokenEvent
from server.engine.request import Encode, Request, Score
from server.model.prefix import Prefix, PrefixKind
from softprompt_vllm.prefix_file import path_of
from tests.engine.contract import tokens_of
from tests.engine.vllm.conftest import generate
from tests.engine.vllm.scripted_backend import FACTS, make_key_values, make_prefix


async def test_two_hundred_tasks_share_room_for_twenty(make_face):
    """Each is answered as alone, however often its soft prompt was dropped."""
    face = await make_face(max_kept=20, max_prefix_bytes=2000)
    requests = [generate(f"r{n}", task=f"t{n % 200}", prefix=make_prefix(n % 200, 4)) for n in range(400)]
    answers = [tokens_of(events) for events in await asyncio.gather(*map(face.ask, requests))]
    assert answers[:200] == answers[200:]
    assert len(set(answers)) > 100
    assert face.backend.num_captures >= 200
    assert face.engine.stats.num_leases == 0


async def test_a_soft_prompt_that_vllm_dropped_is_captured_again(make_face):
    """Nobody notices but the counts."""
    face, prefix = await make_face(), make_prefix(1, 4)
    first = await face.ask(generate("a", prefix=prefix))
    face.backend.kept.clear()
    assert tokens_of(await face.ask(generate("b", prefix=prefix))) == tokens_of(first)
    assert (face.backend.num_captures, face.backend.num_refused) == (2, 1)
    assert face.engine.stats.num_prefix_evictions == 1


async def test_a_damaged_file_is_written_again(make_face):
    """The refused request is tried again behind a whole file."""
    face, prefix = await make_face(), make_key_values(1, 4)
    first = await face.ask(generate("a", prefix=prefix))
    path = path_of(face.folder, prefix.digest)
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    face.backend.kept.clear()
    assert tokens_of(await face.ask(generate("b", prefix=prefix))) == tokens_of(first)


async def test_a_soft_prompt_that_is_always_refused_fails_its_requests(make_face):
    """After a bounded number of attempts, and its neighbours go on."""
    face, prefix = await make_face(), make_prefix(1, 4)
    face.backend.refused.add(prefix.digest)
    failed, served = await asyncio.gather(
        face.ask(generate("a", prefix=prefix)), face.ask(generate("b", prefix=make_prefix(2, 4)))
    )
    assert isinstance(failed[-1].cause, StepFailed)
    assert isinstance(served[-1], RequestFinished)


async def test_files_of_unused_soft_prompts_are_removed(make_face):
    """The folder is bounded as the memory is."""
    face = await make_face(max_prefix_bytes=300)
    for number in range(8):
        await face.ask(generate(f"r{number}", prefix=make_key_values(number, 4)))
    assert len(list(face.folder.iterdir())) <= 3
    assert face.engine.stats.num_resident_prefixes <= 3


async def test_numbers_that_overflow_fail_a_soft_prompt(make_face):
    """It is never said to be known."""
    face = await make_face()
    prefix = Prefix("e" * 64, PrefixKind.EMBEDDINGS, torch.full((4, 2), math.nan))
    events = await face.ask(generate("a", prefix=prefix))
    assert isinstance(events[-1].cause, NumbersOverflow)
    assert face.engine.stats.num_resident_prefixes == 0


async def test_the_salt_has_digest_and_caller(make_face):
    """The salt and the parameters of a request name the same digest."""
    face, prefix = await make_face(), make_prefix(1, 4)
    await face.ask(generate("a", prefix=prefix, salt=b"caller"))
    await face.ask(generate("b", salt=b"caller"))
    await face.ask(generate("c"))
    _, behind, salted, plain = face.backend.requests
    assert behind.prompt["cache_salt"] == f"softprompt:{prefix.digest}:{b'caller'.hex()}"
    assert behind.sampling["extra_args"]["kv_transfer_params"]["soft_prompt"] == prefix.digest
    assert salted.prompt["cache_salt"] == f"base:{b'caller'.hex()}"
    assert "cache_salt" not in plain.prompt


async def test_no_salt_of_a_caller_names_a_soft_prompt(make_face):
    """It comes as hexadecimal digits, behind a word of ours."""
    face = await make_face()
    await face.ask(generate("a", salt=b"softprompt:" + b"a" * 64 + b":"))
    assert face.backend.requests[0].prompt["cache_salt"].startswith("base:")


async def test_at_most_the_set_number_of_sequences_run(make_face):
    """The others wait outside vLLM, and are counted."""
    face = await make_face(max_num_seqs=3)
    asking = [asyncio.create_task(face.ask(generate(f"r{n}", n=2, max_tokens=10))) for n in range(6)]
    await asyncio.sleep(0.01)
    assert face.engine.stats.num_running <= 3
    await asyncio.gather(*asking)
    assert face.backend.max_running == 3


async def test_a_flood_of_one_task_does_not_delay_another(make_face):
    """The task that was served least is next."""
    face, order = await make_face(max_num_seqs=1), []

    async def ask(request):
        await face.ask(request)
        order.append(request.task)

    flood = [ask(generate(f"f{n}", task="flood", max_tokens=20)) for n in range(20)]
    await asyncio.gather(*flood, ask(generate("q", task="quiet")))
    assert order.index("quiet") <= 2


async def test_within_a_task_priority_goes_first(make_face):
    """Then who came first."""
    face, order = await make_face(max_num_seqs=1), []

    async def ask(request):
        await face.ask(request)
        order.append(request.request_id)

    await asyncio.gather(*(ask(generate(f"r{n}", priority=-n)) for n in range(4)))
    assert order == ["r0", "r3", "r2", "r1"]


async def test_lines_of_batches_begin_behind_all_live_requests(make_face):
    """Whatever their tasks and priorities are."""
    face, order = await make_face(max_num_seqs=1), []

    async def ask(request):
        await face.ask(request)
        order.append(request.request_id)

    first = generate("first", task="busy")
    lines = [replace(generate(f"b{n}", task="quiet", priority=-100), is_batch=True) for n in range(2)]
    live = [generate(f"l{n}", task="busy", priority=100) for n in range(2)]
    await asyncio.gather(*map(ask, (first, *lines, *live)))
    assert order == ["first", "l0", "l1", "b0", "b1"]


async def test_a_cancelled_wait_gives_its_turn_to_the_next(make_face):
    """Nobody waits for a sequence that is gone."""
    face = await make_face(max_num_seqs=1)
    streams = [face.engine.stream(generate(f"r{n}", max_tokens=30)) for n in range(5)]
    await anext(streams[0])
    for stream in streams[:4]:
        await stream.aclose()
    assert len(tokens_of([event async for event in streams[4]])) == 30
    assert (face.engine.stats.num_running, face.engine.stats.num_waiting) == (0, 0)


async def test_a_dead_engine_fails_what_runs_and_takes_nothing_more(make_face):
    """And says so, for the watchdog."""
    face = await make_face()
    stream = face.engine.stream(generate("a", max_tokens=60))
    await anext(stream)
    face.backend.is_alive = False
    events = [event async for event in stream]
    assert isinstance(events[-1], RequestFailed) and isinstance(events[-1].cause, EngineStopped)
    assert not face.engine.is_alive
    with pytest.raises(EngineStopped):
        face.engine.stream(generate("b"))


async def test_an_engine_without_progress_is_wedged(make_face):
    """While sequences run, and no sooner than it was told."""
    face = await make_face()
    face.now = 1000.0
    assert face.engine.is_alive
    face.backend.delay_s = 30.0
    stream = face.engine.stream(generate("a"))
    await asyncio.sleep(0.01)
    assert face.engine.is_alive
    face.now += 301
    assert face.engine.is_wedged and not face.engine.is_alive
    await stream.aclose()


async def test_what_vllm_cannot_do_is_refused_by_name(make_face):
    """Before the request is accepted."""
    face, prefix = await make_face(max_prefix_bytes=250), make_prefix(1, 4)
    faults = [
        (generate("a", prefix=prefix, prompt_logprobs=1), RequestRefused, "behind a soft prompt"),
        (generate("b", repetition_penalty=2.0, logit_bias=((1, 1.0),)), RequestRefused, "logit_bias"),
        (generate("c", prefix=make_prefix(2, 12)), PrefixTooLarge, "--vllm-prefix-gib"),
        (Request("d", "", (1,), Encode(None)), RequestRefused, "hidden states"),
        (generate("e", prefix=Prefix("a" * 64, PrefixKind.EMBEDDINGS, torch.zeros(2, 3))), RequestRefused, "rows"),
        (
            generate("f", prefix=Prefix("a" * 64, PrefixKind.KEY_VALUES, torch.zeros(2, 2, 4, 2))),
            RequestRefused,
            "keys and values",
        ),
    ]
    for request, kind, words in faults:
        with pytest.raises(kind, match=words):
            face.engine.stream(request)
    assert face.backend.requests == []


async def test_a_penalty_counts_no_placeholder(make_face):
    """The placeholders are then a token of the prompt, which the penalty counts already."""
    face, prefix = await make_face(), make_prefix(1, 4)
    await face.ask(generate("a", (7, 8), prefix=prefix, repetition_penalty=3.0))
    await face.ask(generate("b", (7, 8), prefix=prefix))
    _, penalised, plain = face.backend.requests
    assert penalised.prompt["prompt_token_ids"] == [7, 7, 7, 7, 7, 8]
    assert plain.prompt["prompt_token_ids"] == [0, 0, 0, 0, 7, 8]


async def test_labels_that_begin_alike_share_their_beginning(make_face):
    """One sequence per inner node of the trie, with its children."""
    face = await make_face()
    await face.ask(Request("s", "", (1, 2), Score(((3, 4), (3, 5), (6,), (3,)))))
    named = [(r.prompt["prompt_token_ids"], r.sampling["logprob_token_ids"]) for r in face.backend.requests]
    assert named == [([1, 2], [3, 6]), ([1, 2, 3], [4, 5])]


async def test_prompt_log_probabilities_come_once_for_all_choices(make_face):
    """The first choice computes them, and the others begin behind it."""
    face = await make_face()
    events = await face.ask(generate("a", n=3, prompt_logprobs=1))
    assert not isinstance(events[0], TokenEvent)
    assert len(events[0].prompt_logprobs) == 3
    assert [r.sampling["prompt_logprobs"] for r in face.backend.requests] == [1, None, None]


async def test_stopping_ends_vllm(make_face):
    """Once nothing runs any more."""
    face = await make_face()
    async with face.engine.running():
        pass
    assert face.backend.is_closed


def test_whole_blocks_of_every_group_are_counted():
    """As the connector counts them."""
    assert FACTS.prefix_bytes(4) == 100
    assert FACTS.prefix_bytes(5) == 200


async def test_a_capture_ahead_of_use_waits_behind_live_requests(make_face):
    """And ahead of lines of batches. It holds nothing afterwards, and the first request finds it."""
    face, order = await make_face(max_num_seqs=1), []
    prefix = make_prefix(1, 4)

    async def run(name, work):
        await work
        order.append(name)

    running = [asyncio.create_task(run("live 0", face.ask(generate("l0", max_tokens=60))))]
    await asyncio.sleep(0.001)
    for name, request in (
        ("line", replace(generate("b"), is_batch=True)),
        ("capture", None),
        ("live 1", generate("l1")),
    ):
        work = face.engine.capture(prefix, "task") if request is None else face.ask(request)
        running.append(asyncio.create_task(run(name, work)))
    await asyncio.gather(*running)
    assert order == ["live 0", "live 1", "capture", "line"]
    stats = face.engine.stats
    assert (stats.num_running, stats.num_batch_running, stats.num_leases, stats.num_prefix_loads) == (0, 0, 0, 1)
    await face.ask(generate("a", prefix=prefix))
    await face.engine.capture(prefix, "task")
    assert face.backend.num_captures == 1


async def test_a_capture_that_is_cancelled_leaves_its_turn(make_face):
    """Nothing was computed for it."""
    face = await make_face(max_num_seqs=1)
    stream = face.engine.stream(generate("a", max_tokens=60))
    await anext(stream)
    capture = asyncio.create_task(face.engine.capture(make_prefix(1, 4), "task"))
    await asyncio.sleep(0)
    capture.cancel()
    assert len(tokens_of([event async for event in stream])) >= 59
    assert face.backend.num_captures == 0
    with pytest.raises(asyncio.CancelledError):
        await capture


async def test_room_is_what_the_connector_drops_nothing_for(make_face):
    """A soft prompt that is known needs none; one that could never be served is refused."""
    face = await make_face(max_prefix_bytes=250)
    first, second, third = (make_prefix(number, 4) for number in range(3))
    await face.engine.capture(first, "task")
    assert face.engine.has_room(second)
    await face.engine.capture(second, "task")
    assert not face.engine.has_room(third) and face.engine.has_room(first)
    with pytest.raises(PrefixTooLarge):
        await face.engine.capture(make_prefix(4, 12), "task")
