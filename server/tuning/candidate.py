"""What an evaluation scores: a version, a checkpoint that is not published, or the base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prompts_store.checkpoint_records import BaseModel, Checkpoint, ParsedCheckpoint, ResolvedPrefix
from prompts_store.manifest import Manifest, ProblemType
from prompts_store.records import VersionContent, VersionRecord
from server.model.heads.head import Head
from server.model.prefix import Prefix, prefix_of
from server.tokenizer.template import PLACEHOLDER
from server.tuning.heads import build_heads, heads_of


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A version (published or not), the base model alone, or the base model with an instruction.

    `name` is for reports (`mood@3`, `base`, `instruction`). `task` is the engine's fairness key. `prefixes` has one
    element, None without a soft prompt; an ensemble has one per member, in its order. So has `heads`, which is empty
    where text is generated. `base_labels` and `base_problem_type` are those of the base model's configuration, which
    hold where the manifest has none.
    """

    name: str
    task: str
    prefixes: tuple[Prefix | None, ...]
    manifest: Manifest
    heads: tuple[Head, ...] = ()
    base_labels: tuple[str, ...] = ()
    base_problem_type: ProblemType | None = None


def unpublished(name: str, task: str, checkpoint: ParsedCheckpoint, manifest: Manifest, base: BaseModel) -> Candidate:
    """A checkpoint that is not published. Raises `ModelError` and `EvaluationFailed` for a head that is not scored."""
    return _candidate(base, name, task, [(checkpoint, checkpoint.prefix)], manifest)


def published(base: BaseModel, record: VersionRecord, contents: Sequence[VersionContent]) -> Candidate:
    """A version of the store, or an ensemble. `contents` are those of its members, in their order.

    Raises `ModelError` and `EvaluationFailed` for a head that is not scored.
    """
    parts = [(content.checkpoint, content.prefix) for content in contents]
    return _candidate(base, f"{record.task}@{record.version}", record.task, parts, record.manifest)


def base_alone(manifest: Manifest) -> Candidate:
    """The base model without a soft prompt, on the same template."""
    return Candidate("base", "", (None,), manifest)


def with_instruction(manifest: Manifest, instruction: str) -> Candidate:
    """The base model without a soft prompt, with an instruction before the template.

    In place of the base model's chat template it is a text that the input follows.
    """
    template = instruction + (manifest.template or f" {PLACEHOLDER}")
    return Candidate("instruction", "", (None,), replace(manifest, template=template, chat_template=False))


def _candidate(
    base: BaseModel, name: str, task: str, parts: Sequence[tuple[Checkpoint, ResolvedPrefix]], manifest: Manifest
) -> Candidate:
    own = heads_of(base)
    return Candidate(
        name,
        task,
        tuple(prefix_of(prefix) for _, prefix in parts),
        manifest,
        build_heads(base, name, [checkpoint for checkpoint, _ in parts], manifest),
        () if own is None else own.labels,
        None if own is None else own.problem_type,
    )
