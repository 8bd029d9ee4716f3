"""What could never be served or published here, or takes more memory than there is, is refused before it is learnt."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from prompts_store.checkpoint_records import BaseKind, HeadShapes, TaskType
from prompts_store.errors import InvalidManifest
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from server.engine.paged.engine import Engine
from server.engine.paged.options import EngineOptions
from server.engine.thread.async_engine import AsyncEngine
from server.engine.vllm.backend import BackendFacts
from server.engine.vllm.options import VllmOptions
from server.model.attention_backend import choose_backend
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner
from server.tuning.cost import Costs, costs_of, parameter_bytes
from server.tuning.encoding import EncodedExample
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example
from server.tuning.fit import Host
from server.tuning.notes import NoteLevel
from server.tuning.plan import Method, TuningPlan
from tests.tuning.tiny import tiny_base, tiny_model

COSTS = Costs(
    hidden_size=32, attention_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_bytes=4, is_fused=False
)
GIB = 1024**3


def host(*, num_blocks: int = 40, max_prefix_blocks: int = 6, max_context: int = 96, **changes) -> Host:
    """An engine of 8 tokens a block over the tiny model; nothing of it runs."""
    loaded = tiny_model()
    options = EngineOptions(
        num_blocks, 8, max_prefix_blocks, 4, 64, 10, max_context, loaded.architecture.vocab_size, frozenset()
    )
    cache = KVCache(loaded.architecture.layers, num_blocks, 8, loaded.dtype, loaded.device)
    engine = AsyncEngine(Engine(ModelRunner(loaded, cache, choose_backend(loaded.device)), options), options)
    limit = changes.pop("max_tensor_bytes", DEFAULT_MAX_TENSOR_BYTES)
    return Host(engine, changes.pop("base", tiny_base()), max_tensor_bytes=limit, **changes)


@pytest.mark.parametrize("method", Method)
def test_virtual_tokens_over_the_prefix_budget_are_refused(method):
    """The very bound of serving: whole blocks, of which the budget keeps six."""
    host().check_plan(TuningPlan(method, num_virtual_tokens=48))
    with pytest.raises(PlanRefused, match=r"keeps room for 48 \(--max-prefix-share") as refused:
        host().check_plan(TuningPlan(method, num_virtual_tokens=49))
    assert refused.value.param == "num_virtual_tokens"


def test_virtual_tokens_that_leave_no_room_for_text_are_refused():
    """One token of prompt and one of answer are the least."""
    roomy = host(max_prefix_blocks=20)
    roomy.check_plan(TuningPlan(num_virtual_tokens=94))
    with pytest.raises(PlanRefused, match=r"the context holds 96 tokens \(--max-context\)"):
        roomy.check_plan(TuningPlan(num_virtual_tokens=95))


def test_a_soft_prompt_that_is_too_large_to_publish_is_refused():
    """Before the training, which would be in vain."""
    wide = replace(tiny_base(), hidden_size=1 << 20)
    with pytest.raises(PlanRefused, match="at most 67108864 are published"):
        host(base=wide).check_plan(TuningPlan(num_virtual_tokens=17))
    host(base=wide, max_tensor_bytes=17 << 22).check_plan(TuningPlan(num_virtual_tokens=17))
    with pytest.raises(PlanRefused, match="71303168 bytes, and at most 71303167 are published"):
        host(base=wide, max_tensor_bytes=(17 << 22) - 1).check_plan(TuningPlan(num_virtual_tokens=17))


def test_keys_and_values_of_a_base_whose_layers_differ_are_refused():
    """A prefix has one shape for all layers."""
    uneven = replace(tiny_base(), num_kv_heads=None, head_dim=None)
    with pytest.raises(PlanRefused, match="layers differ") as refused:
        host(base=uneven, costs=COSTS).check_plan(TuningPlan(Method.PREFIX_TUNING))
    assert refused.value.param == "method"


@pytest.mark.parametrize(
    ("defaults", "param"),
    [({"max_tokens": 80}, "max_tokens"), ({"stop_token_ids": [10**6]}, "stop_token_ids")],
)
def test_defaults_that_would_refuse_every_request_are_refused(defaults, param):
    """The error names the field of the manifest."""
    host().check_defaults(TuningPlan(), Manifest(defaults={"max_tokens": 79, "stop_token_ids": [3]}))
    with pytest.raises(InvalidManifest) as refused:
        host().check_defaults(TuningPlan(), Manifest(defaults=defaults))
    assert refused.value.param == f"manifest.defaults.{param}"


def judged(num_prompt: int, num_answer: int, *, labels=(), **sizes) -> None:
    examples = [Example("short", "x", 1), Example("long", "x", 7)]
    encoded = [EncodedExample((5,), (6, 0)), EncodedExample((5,) * num_prompt, (6,) * num_answer)]
    host(**sizes).check_judged(TuningPlan(num_virtual_tokens=4), examples, encoded, labels)


def test_held_out_examples_longer_than_the_cache_are_refused():
    """With the virtual tokens, the expected answer and each label."""
    sizes = {"num_blocks": 8, "max_prefix_blocks": 2}  # 7 blocks, one of which is a copy of the part-filled virtual one
    judged(40, 4, **sizes)
    for too_long in ((41, 4, ()), (40, 5, ()), (40, 4, [(1,) * 5])):
        message = r"line 7: .* KV cache holds 56 tokens \(--num-kv-blocks\)"
        with pytest.raises(ExamplesRefused, match=message) as refused:
            judged(*too_long[:2], labels=too_long[2], **sizes)
        assert refused.value.code == "example_too_long"


def test_training_examples_longer_than_the_cache_are_noted():
    """They can be learnt from; that nobody can ever ask them is worth a word."""
    encoded = [EncodedExample((5,) * length, (6,)) for length in (3, 43, 44)]
    small = host(num_blocks=8, max_prefix_blocks=2)
    (note,) = small.notes_on_lengths(TuningPlan(num_virtual_tokens=4), encoded)
    assert note.text.startswith("1 examples are learnt from, but longer than")
    assert note.level is NoteLevel.WARN


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "param"),
    [
        (TuningPlan(Method.P_TUNING, encoder_hidden_size=65_536), "encoder_hidden_size"),
        (TuningPlan(Method.PREFIX_TUNING, num_virtual_tokens=48), "num_virtual_tokens"),
        (TuningPlan(Method.PROMPT_TUNING, num_virtual_tokens=48), "num_virtual_tokens"),
    ],
)
def test_parameters_too_large_for_the_memory_are_refused(plan, param):
    """With gradient, moments and copies. Where the device itself says that it is full, nothing is."""
    needed = parameter_bytes(plan, tiny_base())
    host(costs=COSTS, memory_bytes=needed).check_plan(plan)
    host(memory_bytes=1).check_plan(plan)
    with pytest.raises(PlanRefused, match=r"GiB of memory where .*--tuning-memory-gib") as refused:
        host(costs=COSTS, memory_bytes=needed - 1).check_plan(plan)
    assert refused.value.param == param


def test_the_encoder_of_p_tuning_costs_the_square_of_its_width():
    """Its middle layer is a square matrix."""
    plan = TuningPlan(Method.P_TUNING, encoder_hidden_size=65_536)
    assert parameter_bytes(plan, tiny_base()) > 150 * GIB


def test_an_example_too_long_for_the_memory_is_refused():
    """The scores of its attention, of all heads, count where the base model makes them."""
    plan = TuningPlan(num_virtual_tokens=4, max_micro_batch_tokens=16)
    examples = [Example("a", "x", 3), Example("b", "x", 9)]
    encoded = [EncodedExample((5,) * 3, (6,)), EncodedExample((5,) * 3000, (6,))]
    fused = replace(COSTS, is_fused=True, vocab_size=tiny_model().architecture.vocab_size)
    width = 3005
    assert COSTS.piece_bytes(width, width) > 3 * 4 * width**2 * 4 > 10 * fused.piece_bytes(width, width)
    room = 100 * 1024**2
    host(costs=fused, memory_bytes=room).check_memory(plan, examples, encoded)
    with pytest.raises(ExamplesRefused, match=r"line 9: has 3005 positions .* shorten it") as refused:
        host(costs=COSTS, memory_bytes=room).check_memory(plan, examples, encoded)
    assert refused.value.code == "example_too_long"


def test_a_micro_batch_too_large_for_the_memory_is_refused():
    """The error names the setting that bounds it."""
    plan = TuningPlan(num_virtual_tokens=4, batch_size=4096, max_micro_batch_tokens=1 << 20)
    examples, encoded = [Example("a", "x", 3)], [EncodedExample((5,) * 300, (6,))]
    roomy = host(costs=COSTS, memory_bytes=100 * 1024**2)
    roomy.check_memory(replace(plan, max_micro_batch_tokens=512), examples, encoded)
    with pytest.raises(PlanRefused, match="--tuning-micro-batch-tokens") as refused:
        roomy.check_memory(plan, examples, encoded)
    assert refused.value.param == "max_micro_batch_tokens"


@pytest.mark.parametrize("kind", [BaseKind.ENCODER, BaseKind.ENCODER_DECODER])
def test_layers_that_cannot_be_recomputed_all_count(kind):
    """Keys and values of prefix tuning are in PEFT's cache there. A decoder recomputes its layers with any prompt."""
    plan = TuningPlan(Method.PREFIX_TUNING, num_virtual_tokens=4, max_micro_batch_tokens=16)
    examples, encoded = [Example("a", "x", 3)], [EncodedExample((5,) * 60, (6,))]
    base = replace(tiny_base(), kind=kind)
    fixed = parameter_bytes(plan, base)
    needed = fixed + COSTS.num_layers * COSTS.layer_bytes(65, 65)
    assert needed > fixed + COSTS.piece_bytes(65, 65)
    host(base=base, costs=COSTS, memory_bytes=needed).check_memory(plan, examples, encoded)
    host(costs=COSTS, memory_bytes=needed - 1).check_memory(plan, examples, encoded)
    with pytest.raises(ExamplesRefused, match="line 3: has 65 positions"):
        host(base=base, costs=COSTS, memory_bytes=needed - 1).check_memory(plan, examples, encoded)


def test_the_logits_of_an_answer_behind_an_encoder_count():
    """PEFT's model computes all of them at once; those of a decoder are computed in parts."""
    plan = TuningPlan(num_virtual_tokens=4, max_micro_batch_tokens=16)
    examples, encoded = [Example("a", "x", 3)], [EncodedExample((5,) * 3, (6,) * 50)]
    costs, base = replace(COSTS, vocab_size=250_000), replace(tiny_base(), kind=BaseKind.ENCODER_DECODER)
    needed = parameter_bytes(plan, base) + costs.piece_bytes(57, 57) + 3 * 4 * 50 * 250_000
    host(base=base, costs=costs, memory_bytes=needed).check_memory(plan, examples, encoded)
    host(costs=costs, memory_bytes=needed - 1).check_memory(plan, examples, encoded)
    with pytest.raises(ExamplesRefused, match="line 3: has 57 positions"):
        host(base=base, costs=costs, memory_bytes=needed - 1).check_memory(plan, examples, encoded)


def test_a_default_limit_is_no_longer_than_what_can_be_served():
    """An answer of the training file may be longer than the cache; behind a prompt of one token it is cut."""
    roomy = host(max_prefix_blocks=20)
    plan = TuningPlan(num_virtual_tokens=16)
    assert roomy.longest_answer(plan, 7) == 7
    capped = roomy.longest_answer(plan, 700)
    assert capped == 79
    roomy.check_defaults(plan, Manifest(defaults={"max_tokens": capped}))
    with pytest.raises(InvalidManifest, match="max_tokens cannot be served"):
        roomy.check_defaults(plan, Manifest(defaults={"max_tokens": capped + 1}))


def test_costs_are_read_off_the_base_model():
    """Sizes, number of layers and heads, and bytes per number."""
    assert costs_of(tiny_model()) == replace(COSTS, is_fused=True, vocab_size=tiny_model().architecture.vocab_size)


# --- beside vLLM's engine, whose limits decide ------------------------------------------------------------------------


def vllm_host(max_prefix_bytes: int = 2**20, base=None) -> Host:
    """vLLM's limits for the tiny model."""
    base = tiny_base() if base is None else base
    facts = BackendFacts(
        96, 300, base.hidden_size, torch.float32, 40, ((8, 1024),), base.num_layers, base.num_kv_heads, base.head_dim
    )
    options = VllmOptions(facts, frozenset(), 4, 10, max_prefix_bytes)
    engine = SimpleNamespace(check_servable=options.check)
    return Host(engine, base, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)


@pytest.mark.parametrize("method", Method)
def test_the_limits_of_vllm_decide_where_it_serves(method):
    """By the memory that soft prompts have in its workers."""
    num_bytes = 1024  # of one block
    vllm_host(num_bytes).check_plan(TuningPlan(method, num_virtual_tokens=8))
    with pytest.raises(PlanRefused, match="--vllm-prefix-gib") as refused:
        vllm_host(num_bytes - 1).check_plan(TuningPlan(method, num_virtual_tokens=8))
    assert refused.value.param == "num_virtual_tokens"


def test_defaults_are_checked_by_vllm_too():
    """Against its context."""
    with pytest.raises(InvalidManifest, match="the context holds 96"):
        vllm_host().check_defaults(TuningPlan(), Manifest(defaults={"max_tokens": 95}))


def test_a_head_that_vllm_does_not_compute_is_refused():
    """Nobody waits for a version that this server cannot serve."""
    with pytest.raises(PlanRefused, match="not computed with --engine vllm") as refused:
        vllm_host(base=replace(tiny_base(), heads={TaskType.SEQ_CLS: HeadShapes({})})).check_plan(
            TuningPlan(task_type=TaskType.SEQ_CLS)
        )
    assert refused.value.param == "task_type"
