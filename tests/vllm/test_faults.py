"""Files that fail, captures that are cut off, more tasks than memory: requests fail alone, and the engine goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from vllm import SamplingParams

from softprompt_vllm.prefix_file import path_of, read_key_values, write_key_values
from softprompt_vllm.requests import EngineInputs, capture_inputs
from tests.vllm.conftest import NUM_KEPT
from tests.vllm.engines import ask
from tests.vllm.worlds import Task, digest_of

NUM_TASKS = 200
_GREEDY = {"temperature": 0.0, "max_tokens": 4, "ignore_eos": True, "detokenize": False}


def _damage(path, content):
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _truncate(path, content):
    path.write_bytes(content[: len(content) // 2])


def _empty(path, content):
    path.write_bytes(b"")


def _remove(path, content):
    path.unlink()


@pytest.mark.parametrize("fault", [_damage, _truncate, _empty, _remove])
def test_a_file_that_fails_fails_its_requests_alone(captured, fault):
    """Neighbours are right, and so is the task once its file is whole."""
    prefix = captured.world.tasks[2]
    path = path_of(captured.world.files, prefix.digest)
    content = path.read_bytes()
    text = captured.world.texts[0]
    try:
        fault(path, content)
        broken, other = captured.run([ask(prefix, text), ask(captured.world.tasks[1], text)])
    finally:
        path.write_bytes(content)
    assert broken.outputs[0].finish_reason == "error"
    assert list(other.outputs[0].token_ids) == captured.world.tasks[1].answers[0]
    assert captured.num_exact(captured.cases()) == (12, 12)


def test_a_file_that_goes_after_its_verdict_fails_its_request(captured):
    """The header was read when the request came; the tensors are not there any more."""
    prefix = captured.world.tasks[2]
    path = path_of(captured.world.files, prefix.digest)
    content = path.read_bytes()
    engine = captured.llm.llm_engine
    inputs = ask(prefix, captured.world.texts[0])
    engine.add_request("late", inputs.prompt, SamplingParams(**inputs.sampling))
    path.unlink()
    try:
        outputs = [output for _ in range(4) for output in engine.step()]
    finally:
        path.write_bytes(content)
    assert [output.outputs[0].finish_reason for output in outputs] == ["error"]
    assert captured.num_exact(captured.cases()) == (12, 12)


def test_a_prefix_of_other_heads_is_refused(captured):
    """As PEFT's keys for every query head are: four, where this cache has two."""
    prefix = captured.world.tasks[2]
    wide = replace(prefix, digest=digest_of("wide"))
    pairs = read_key_values(path_of(captured.world.files, prefix.digest))
    twice = [tuple(tensor.repeat_interleave(2, dim=1) for tensor in pair) for pair in pairs]
    path = write_key_values(captured.world.files, wide.digest, twice)
    (output,) = captured.run([ask(wide, captured.world.texts[0])])
    path.unlink()
    assert output.outputs[0].finish_reason == "error"


@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_a_cancelled_capture_leaves_nothing(fresh, num_steps):
    """Before it begins, between two chunks, and while a request waits for it. The digest can be captured anew."""
    rows = torch.randn(200, 128, generator=torch.Generator().manual_seed(3))
    long = Task("long", digest_of("long"), 200, rows, [])
    engine = fresh.llm.llm_engine
    capture, inputs = capture_inputs(fresh.key, long.digest, rows), ask(long, [5, 6, 7])
    engine.add_request("capture", capture.prompt, SamplingParams(**capture.sampling))
    engine.add_request("use", inputs.prompt, SamplingParams(**inputs.sampling))
    outputs = [output for _ in range(num_steps) for output in engine.step()]
    engine.abort_request(["capture"])
    while engine.has_unfinished_requests():
        outputs += engine.step()
    ended = {output.request_id: output.outputs[0].finish_reason for output in outputs if output.finished}
    assert ended["use"] == "error"
    fresh.capture([long])
    table = load_file(fresh.world.model / "model.safetensors")["model.embed_tokens.weight"]
    whole = EngineInputs({"prompt_embeds": torch.cat([rows, table[[5, 6, 7]]])}, _GREEDY)
    (answer,), (expected,) = fresh.run([ask(long, [5, 6, 7], max_tokens=4)]), fresh.run([whole])
    assert list(answer.outputs[0].token_ids) == list(expected.outputs[0].token_ids)


def test_cancelled_requests_leave_nothing_open(captured):
    """Waiting for a file, running, and finished already."""
    engine = captured.llm.llm_engine
    for number, (task, text, _) in enumerate(captured.cases()):
        inputs = ask(task, text)
        engine.add_request(f"gone {number}", inputs.prompt, SamplingParams(**inputs.sampling))
        if number % 3 == 0:
            engine.step()
    engine.abort_request([f"gone {number}" for number in range(12)])
    while engine.has_unfinished_requests():
        engine.step()
    assert captured.num_exact(captured.cases()) == (12, 12)


def _many(engine, num):
    generator = torch.Generator().manual_seed(7)
    table = load_file(engine.world.model / "model.safetensors")["model.embed_tokens.weight"]
    tasks = [
        Task("", digest_of("many", number), 5, torch.randn(5, 128, generator=generator) * table.std(), [])
        for number in range(num)
    ]
    text = engine.world.texts[0]
    whole = [EngineInputs({"prompt_embeds": torch.cat([task.rows, table[text]])}, _GREEDY) for task in tasks]
    return tasks, text, [list(output.outputs[0].token_ids) for output in engine.run(whole)]


def test_200_tasks_with_room_for_20(fresh):
    """Captures wait until open requests let go; answers are those of the rows sent along with each request."""
    tasks, text, expected = _many(fresh, NUM_TASKS)
    assert len({tuple(tokens) for tokens in expected}) > NUM_TASKS * 0.9
    requests = []
    for task in tasks:
        requests += [capture_inputs(fresh.key, task.digest, task.rows), ask(task, text, max_tokens=4)]
    outputs = fresh.run(requests)[1::2]
    assert [list(output.outputs[0].token_ids) for output in outputs] == expected
    assert fresh.half.residency.num_entries <= NUM_KEPT
    assert fresh.worker.kept.num_host_bytes == fresh.half.residency.num_bytes <= fresh.half.residency.max_bytes


def test_60_files_with_room_for_20(fresh):
    """Files that find no room are read and not kept."""
    generator = torch.Generator().manual_seed(9)
    text = fresh.world.texts[0]
    tasks = [Task("", digest_of("file", number), 19, None, []) for number in range(3 * NUM_KEPT)]
    for task in tasks:
        pairs = [tuple(torch.randn(19, 2, 32, generator=generator) for _ in "kv") for _ in range(3)]
        write_key_values(fresh.world.files, task.digest, pairs)
    together = fresh.run([ask(task, text, max_tokens=4) for task in tasks])
    fresh.llm.reset_prefix_cache()
    alone = [fresh.run([ask(task, text, max_tokens=4)])[0] for task in tasks[::6]]
    assert [list(a.outputs[0].token_ids) for a in alone] == [list(b.outputs[0].token_ids) for b in together[::6]]
    assert len({tuple(output.outputs[0].token_ids) for output in together}) > len(tasks) * 0.8
    assert fresh.worker.kept.num_host_bytes == fresh.half.residency.num_bytes <= fresh.half.residency.max_bytes


def test_slots_behind_a_captured_soft_prompt_are_zero(captured, task):
    """A block may hold another request's keys and values there. The kernel's own order of a block is not known here."""
    blocks = captured.worker.kept.get(task.digest, torch.device("cpu"))
    for tensor in blocks.values():
        assert tensor.shape == (1, 2, 32, 64)
        assert int(tensor.count_nonzero()) == task.num_virtual_tokens * 2 * 64
