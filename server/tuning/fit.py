"""Limits that a run must fit into: those of the engine that serves its result, and memory. Checked before training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint_records import BaseKind, BaseModel, PeftType
from prompts_store.errors import InvalidManifest, ShapeMismatch
from prompts_store.manifest import Manifest, Pooling
from server.engine.client import EngineClient
from server.engine.errors import ContextExceeded, PrefixTooLarge, RequestRefused
from server.engine.request import Encode, Generate, Kind, Request, SamplingParams, Score
from server.model.base_model import LoadedModel
from server.model.heads.pooling import PoolingHead
from server.model.memory import available_bytes
from server.model.prefix import Prefix, PrefixKind
from server.tuning.cost import MORE_MEMORY, Costs, costs_of, parameter_bytes, too_much
from server.tuning.encoding import AnswerForm, EncodedExample
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example
from server.tuning.head_fit import TrainedHead, check_task_type
from server.tuning.notes import Note, warning
from server.tuning.plan import Method, TuningPlan
from server.tuning.task_choice import answer_form


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """The machine that computes runs and serves their results.

    `costs` is None on a device that reports a lack of memory as an error, without an end of the process. A run may take
    `memory_bytes`, or with None what the machine has left. `max_tensor_bytes` is the limit of a version.
    """

    engine: EngineClient
    base: BaseModel
    costs: Costs | None = None
    memory_bytes: int | None = None
    max_tensor_bytes: int = field(kw_only=True)

    def check_plan(self, plan: TuningPlan) -> None:
        """Raise `PlanRefused` for a soft prompt that cannot be served, published or trained here."""
        check_task_type(plan, self.base)
        try:
            num_bytes = 4 * math.prod(_shape(plan, self.base))
            self.engine.check_servable(self._request(plan))
        except ShapeMismatch as error:
            raise PlanRefused(f"does not fit: {error}", param="method") from error
        except (PrefixTooLarge, ContextExceeded) as error:
            raise PlanRefused(f"is more than this server can serve: {error}", param="num_virtual_tokens") from error
        except RequestRefused as error:
            param = "task_type" if plan.has_head else "method"
            raise PlanRefused(f"makes a soft prompt that this server cannot serve: {error}", param=param) from error
        if num_bytes > self.max_tensor_bytes:
            limit = f"at most {self.max_tensor_bytes} are published (--max-tensor-bytes)"
            message = f"makes a soft prompt of {num_bytes} bytes, and {limit}"
            raise PlanRefused(message, param="num_virtual_tokens")
        self._check_memory_of_parameters(plan)

    def check_defaults(self, plan: TuningPlan, manifest: Manifest) -> None:
        """Raise `InvalidManifest` for defaults with which the engine refuses every request that keeps them, and for
        those of generated text where a head answers."""
        defaults = manifest.defaults
        if plan.has_head:
            _check_no_text(manifest)
            return
        stop = frozenset(defaults.get("stop_token_ids", ()))
        prefix = _prefix(plan, self.base)
        for name, sampling in (
            ("stop_token_ids", SamplingParams(1, stop_token_ids=stop)),
            ("max_tokens", SamplingParams(defaults.get("max_tokens", 1))),
        ):
            try:
                self.engine.check_servable(Request("", "", (0,), Generate(sampling), prefix))
            except RequestRefused as error:
                raise InvalidManifest(
                    f"{name} cannot be served: {error}.", param=f"manifest.defaults.{name}"
                ) from error

    def check_head(self, plan: TuningPlan, num_labels: int) -> None:
        """Raise `ExamplesRefused` for a head with more labels than are published, or than fit into memory."""
        head = TrainedHead(plan, self.base, num_labels)
        head.check_size(math.prod(_shape(plan, self.base)), self.max_tensor_bytes)
        if self.costs is not None:
            head.check_memory(self._room())

    def check_judged(
        self,
        plan: TuningPlan,
        examples: Sequence[Example],
        encoded: Sequence[EncodedExample],
        labels: Sequence[tuple[int, ...]],
    ) -> None:
        """Raise `ExamplesRefused` for the first held-out example that the engine cannot score.

        `labels` are the token ids of each label with its end token; none where a head answers.
        """
        for example, one in zip(examples, encoded, strict=True):
            try:
                self.engine.check_servable(self._request(plan, one, labels))
            except RequestRefused as error:
                code = "example_too_long" if isinstance(error, ContextExceeded) else "bad_line"
                raise ExamplesRefused(f"could never be answered here: {error}", code=code, line=example.line) from error

    def check_memory(self, plan: TuningPlan, examples: Sequence[Example], encoded: Sequence[EncodedExample]) -> None:
        """Check that the longest example and the largest micro-batch fit into memory.

        Raises `ExamplesRefused` for the example, and `PlanRefused` for the micro-batch.
        """
        if self.costs is None:
            return
        room = self._room()
        longest, line = max((one.num_tokens, example.line) for example, one in zip(examples, encoded, strict=True))
        width = plan.num_virtual_tokens + longest
        fixed = parameter_bytes(plan, self.base) + self._logit_bytes(plan, encoded)
        if (needed := fixed + self._piece_bytes(plan, width, width)) > room:
            message = f"has {width} positions with its virtual tokens, which take {too_much(needed, room)}"
            raise ExamplesRefused(f"{message}: shorten it, {MORE_MEMORY}", code="example_too_long", line=line)
        num_positions = plan.max_positions(longest)
        if (needed := fixed + self._piece_bytes(plan, num_positions, width)) > room:
            message = f"computes {num_positions} positions at once, which takes {too_much(needed, room)}: lower it"
            raise PlanRefused(f"(--tuning-micro-batch-tokens) {message}, {MORE_MEMORY}", param="max_micro_batch_tokens")

    def longest_answer(self, plan: TuningPlan, num_tokens: int) -> int:
        """Return `num_tokens`, but at most the number of tokens that can follow a prompt of one token."""
        return max(1, min(num_tokens, self.engine.max_context - plan.num_virtual_tokens - 1))

    def notes_on_lengths(self, plan: TuningPlan, encoded: Sequence[EncodedExample]) -> tuple[Note, ...]:
        """A note if training examples fit into a run, but are longer than the engine can serve."""
        if answer_form(plan, self.base.kind) is AnswerForm.DECODED:
            return ()  # input and answer have positions of their own, and were checked one by one
        num_longer = sum(plan.num_virtual_tokens + one.num_tokens > self.engine.max_context for one in encoded)
        if not num_longer:
            return ()
        return (
            warning(
                f"{num_longer} examples are learnt from, but longer than what this server's KV cache can ever answer"
            ),
        )

    def _request(
        self, plan: TuningPlan, example: EncodedExample | None = None, labels: Sequence[tuple[int, ...]] = ()
    ) -> Request[Kind]:
        """A request as the plan's result serves it, for checks only: the shortest, or one that scores an example."""
        prompt = (0,) if example is None else example.prompt
        kind: Kind
        if plan.has_head:
            kind = Encode(PoolingHead(Pooling.LAST))  # any head will do: none changes what fits
        elif example is None:
            kind = Generate(SamplingParams(1))
        else:
            kind = Score((example.completion, *labels))
        return Request("", "", prompt, kind, _prefix(plan, self.base))

    def _check_memory_of_parameters(self, plan: TuningPlan) -> None:
        if self.costs is None:
            return
        needed, room = parameter_bytes(plan, self.base), self._room()
        if needed > room:
            param = "encoder_hidden_size" if plan.method is Method.P_TUNING else "num_virtual_tokens"
            message = f"makes parameters whose training takes {too_much(needed, room)}: lower it, {MORE_MEMORY}"
            raise PlanRefused(message, param=param)

    def _piece_bytes(self, plan: TuningPlan, num_positions: int, width: int) -> int:
        """Bytes of the activations of a piece. Behind keys and values in PEFT's cache, no layer is recomputed."""
        assert self.costs is not None
        if plan.is_key_values and self.base.kind is not BaseKind.DECODER:
            return self.costs.num_layers * self.costs.layer_bytes(num_positions, width)
        return self.costs.piece_bytes(num_positions, width)

    def _logit_bytes(self, plan: TuningPlan, encoded: Sequence[EncodedExample]) -> int:
        """Bytes of the logits of the longest answer, where all of them are computed at once."""
        if answer_form(plan, self.base.kind) is not AnswerForm.DECODED:
            return 0
        assert self.costs is not None
        return self.costs.logit_bytes(max(len(one.completion) for one in encoded))

    def _room(self) -> int:
        return available_bytes() if self.memory_bytes is None else self.memory_bytes


def host_of(
    engine: EngineClient,
    base: BaseModel,
    loaded: LoadedModel,
    memory_bytes: int | None = None,
    *,
    max_tensor_bytes: int,
) -> Host:
    """Host of runs on a loaded base model."""
    is_bounded = loaded.device.type == "cpu" or memory_bytes is not None
    return Host(engine, base, costs_of(loaded) if is_bounded else None, memory_bytes, max_tensor_bytes=max_tensor_bytes)


def _shape(plan: TuningPlan, base: BaseModel) -> tuple[int, ...]:
    """Shape of the soft prompt that is published. Raises `ShapeMismatch` where it does not fit the base model."""
    return LAYOUTS[PeftType(plan.method.value)].prefix_shape(plan.num_virtual_tokens, base)


def _prefix(plan: TuningPlan, base: BaseModel) -> Prefix:
    """A soft prompt of the plan's shape without values, for checks only."""
    kind = PrefixKind.KEY_VALUES if plan.is_key_values else PrefixKind.EMBEDDINGS
    return Prefix("", kind, torch.empty(_shape(plan, base), device="meta"))


def _check_no_text(manifest: Manifest) -> None:
    """Raise `InvalidManifest` for fields of generated text."""
    for name, value in (("stop", manifest.stop), ("defaults", manifest.defaults)):
        if value:
            raise InvalidManifest(f"{name} is for generated text; a head answers here.", param=f"manifest.{name}")
