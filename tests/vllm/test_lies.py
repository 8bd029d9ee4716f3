"""One test per lie that a client could tell: it fails alone, tells nothing, and poisons nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softprompt_vllm.claims import Purpose, salt_of
from softprompt_vllm.requests import EngineInputs, capture_inputs
from tests.vllm.engines import ask
from tests.vllm.worlds import digest_of


def _without_salt(engine, task, text):
    honest = ask(task, text)
    return EngineInputs({"prompt_token_ids": honest.prompt["prompt_token_ids"]}, honest.sampling)


def _without_parameters(engine, task, text):
    honest = ask(task, text)
    return EngineInputs(honest.prompt, {**honest.sampling, "extra_args": None})


def _another_salt(engine, task, text):
    return EngineInputs(ask(engine.world.tasks[1], text).prompt, ask(task, text).sampling)


def _a_salt_of_its_own(engine, task, text):
    honest = ask(task, text)
    return EngineInputs(honest.prompt | {"cache_salt": "tenant"}, honest.sampling)


def _another_digest(engine, task, text):
    other = replace(engine.world.tasks[1], num_virtual_tokens=task.num_virtual_tokens)
    return EngineInputs(ask(task, text).prompt, ask(other, text).sampling)


def _another_caller_of_a_foreign_form(engine, task, text):
    honest = ask(task, text)
    return EngineInputs(honest.prompt | {"cache_salt": f"softprompt:{task.digest}"}, honest.sampling)


def _more_virtual_tokens(engine, task, text):
    return ask(replace(task, num_virtual_tokens=task.num_virtual_tokens + 1), text)


def _fewer_virtual_tokens(engine, task, text):
    return ask(replace(task, num_virtual_tokens=task.num_virtual_tokens - 1), text)


def _an_unknown_digest(engine, task, text):
    return ask(replace(task, digest=digest_of("unknown")), text)


def _no_text(engine, task, text):
    honest = ask(task, text)
    ids = honest.prompt["prompt_token_ids"][: task.num_virtual_tokens]
    return EngineInputs(honest.prompt | {"prompt_token_ids": ids}, honest.sampling)


def _its_own_rows_behind_the_soft_prompt(engine, task, text):
    honest = ask(task, text)
    rows = torch.ones(len(honest.prompt["prompt_token_ids"]), 128)
    return EngineInputs({"prompt_embeds": rows, "cache_salt": honest.prompt["cache_salt"]}, honest.sampling)


def _skipping_the_cache(engine, task, text):
    return ask(task, text, skip_reading_prefix_cache=True)


def _asking_for_prompt_logprobs(engine, task, text):
    return ask(task, text, prompt_logprobs=1)


def _foreign_fields(engine, task, text):
    honest = ask(task, text)
    claim = honest.sampling["extra_args"]["kv_transfer_params"] | {"do_remote_prefill": True}
    return EngineInputs(honest.prompt, honest.sampling | {"extra_args": {"kv_transfer_params": claim}})


def _a_path_for_a_digest(engine, task, text):
    honest = ask(task, text)
    claim = {"soft_prompt": f"../files/{task.digest}", "num_virtual_tokens": task.num_virtual_tokens}
    return EngineInputs(honest.prompt, honest.sampling | {"extra_args": {"kv_transfer_params": claim}})


def _forged(engine, digest, num):
    return capture_inputs("x" * 64, digest, torch.ones(num, 128))


def _a_capture_nobody_announced(engine, task, text):
    return _forged(engine, task.digest, task.num_virtual_tokens)


def _a_capture_announced_for_another_digest(engine, task, text):
    rows = torch.ones(task.num_virtual_tokens, 128)
    announced = capture_inputs(engine.key, digest_of("another"), rows).sampling["extra_args"]["kv_transfer_params"]
    forged = _forged(engine, task.digest, task.num_virtual_tokens)
    claim = {**announced, "soft_prompt_capture": task.digest}
    return EngineInputs(forged.prompt, forged.sampling | {"extra_args": {"kv_transfer_params": claim}})


def _a_capture_in_the_salt_of_a_use(engine, task, text):
    forged = capture_inputs(engine.key, task.digest, torch.ones(task.num_virtual_tokens, 128))
    return EngineInputs(forged.prompt | {"cache_salt": salt_of(Purpose.USE, task.digest)}, forged.sampling)


def _rows_in_the_salt_of_a_use(engine, task, text):
    rows, salt = torch.ones(task.num_virtual_tokens + len(text), 128), salt_of(Purpose.USE, task.digest)
    return EngineInputs({"prompt_embeds": rows, "cache_salt": salt}, ask(None, text).sampling)


LIES = {
    lie.__name__[1:]: lie
    for lie in (
        _without_salt,
        _without_parameters,
        _another_salt,
        _a_salt_of_its_own,
        _another_digest,
        _another_caller_of_a_foreign_form,
        _more_virtual_tokens,
        _fewer_virtual_tokens,
        _an_unknown_digest,
        _no_text,
        _its_own_rows_behind_the_soft_prompt,
        _skipping_the_cache,
        _asking_for_prompt_logprobs,
        _foreign_fields,
        _a_path_for_a_digest,
        _a_capture_nobody_announced,
        _a_capture_announced_for_another_digest,
        _a_capture_in_the_salt_of_a_use,
        _rows_in_the_salt_of_a_use,
    )
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_fails_alone_and_poisons_nothing(captured, task, lie):
    """The liar ends with an error and no token, and honest requests before, beside and after it are right."""
    text, answer = captured.world.texts[2], task.answers[2]
    told = LIES[lie](captured, task, text)
    liar, honest = captured.run([told, ask(task, text)])
    assert (liar.outputs[0].finish_reason, list(liar.outputs[0].token_ids)) == ("error", [])
    assert list(honest.outputs[0].token_ids) == answer
    assert captured.num_exact(captured.cases()) == (12, 12)


@pytest.mark.parametrize("lie", ["without_salt", "without_parameters", "more_virtual_tokens", "skipping_the_cache"])
def test_a_lie_that_comes_first_poisons_nothing(captured, task, lie):
    """With an empty prefix cache, where the liar's blocks would be the first of their hash."""
    captured.run([LIES[lie](captured, task, captured.world.texts[2])])
    assert captured.num_exact(captured.cases()) == (12, 12)


def test_plain_text_of_the_same_ids_shares_nothing(captured, task):
    """Placeholders and text without a soft prompt are text: not a lie, and neither reads the other's blocks."""
    text = captured.world.texts[2]
    plain = ask(None, ask(task, text).prompt["prompt_token_ids"])
    honest = captured.run([plain, ask(task, text), plain])
    captured.llm.reset_prefix_cache()
    (alone,) = captured.run([plain])
    assert list(honest[1].outputs[0].token_ids) == task.answers[2]
    for output in (honest[0], honest[2]):
        assert list(output.outputs[0].token_ids) == list(alone.outputs[0].token_ids) != task.answers[2]


def test_several_answers_of_one_request_are_one_soft_prompt(captured, task):
    """vLLM makes a request of its own for each of `n` answers."""
    (output,) = captured.run([ask(task, captured.world.texts[2], n=3, temperature=1.0, top_k=1)])
    assert [list(answer.token_ids) for answer in output.outputs] == [task.answers[2]] * 3


def test_a_forged_capture_of_a_new_digest_makes_none(fresh, renamed):
    """Nobody can publish but the front end."""
    text = fresh.world.texts[0]
    (forged,) = fresh.run([_forged(fresh, renamed.digest, renamed.num_virtual_tokens)])
    (asked,) = fresh.run([ask(renamed, text)])
    assert [output.outputs[0].finish_reason for output in (forged, asked)] == ["error", "error"]
    fresh.capture([renamed])
    (asked,) = fresh.run([ask(renamed, text)])
    assert list(asked.outputs[0].token_ids) == renamed.answers[0]


def test_an_announced_capture_of_other_rows_changes_nothing(captured, task):
    """A digest that is at hand stays what it was."""
    captured.capture([replace(task, rows=torch.ones(task.num_virtual_tokens, 128))])
    captured.llm.reset_prefix_cache()
    assert captured.num_exact(captured.cases()) == (12, 12)


def test_callers_share_no_blocks_of_text(captured, task):
    """Two callers' salts behind one soft prompt: equal answers, and no cached text of each other."""
    from softprompt_vllm.requests import use_inputs

    text = captured.world.texts[2]
    found = []
    for caller in ("one", "one", "two"):
        inputs = use_inputs(task.digest, task.num_virtual_tokens, text, placeholder_id=0, caller_salt=caller)
        (output,) = captured.run([EngineInputs(inputs.prompt, ask(task, text).sampling)])
        assert list(output.outputs[0].token_ids) == task.answers[2]
        found.append(output.num_cached_tokens)
    assert found[0] == found[2] < found[1]
