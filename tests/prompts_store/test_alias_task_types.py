"""An alias of several versions has one task type: callers of one name get answers of one form."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest

from prompts_store.checkpoint_records import BaseKind, ParsedCheckpoint, PeftType
from prompts_store.errors import InvalidTargets
from prompts_store.manifest import Manifest
from prompts_store.records import AliasRecord, AliasTarget
from prompts_store.sql import aliases
from prompts_store.store import Store
from prompts_store.tuning_records import JobRecord, Promotion
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.job_steps import complete, running
from tests.prompts_store.test_task_types import BASES

F = BASE.fingerprint
TEXT, CLASSES, MORE_CLASSES, TOKENS, UNNAMED = 1, 2, 3, 4, 5
DIFFER = "Version 1 is for text generation and version 2 for SEQ_CLS; the versions of one alias have one task type."


def of_type(seed: int, task_type: str | None) -> ParsedCheckpoint:
    return checkpoint(PeftType.PROMPT_TUNING, seed, BASES[BaseKind.DECODER], task_type=task_type)


@pytest.fixture
def store(store: Store) -> Store:
    """A task with versions of three task types; `production` is version 1, which writes text."""
    for seed, task_type in enumerate(("CAUSAL_LM", "SEQ_CLS", "SEQ_CLS", "TOKEN_CLS", None)):
        store.publish("mood", of_type(seed, task_type), Manifest(), actor="ann")
    return store


def split(store: Store, *versions: int, alias: str = "production", shadow_of: str | None = None) -> AliasRecord:
    targets = [AliasTarget(version, 10) for version in versions]
    return store.put_alias(F, "mood", alias, targets, if_match=None, must_not_exist=False, shadow_of=shadow_of)


def targets(store: Store, alias: str = "production") -> list[int]:
    return [target.version for target in store.get_alias(F, "mood", alias).targets]


@pytest.mark.parametrize(
    "versions", [(TEXT, CLASSES), (CLASSES, TEXT), (CLASSES, MORE_CLASSES, TOKENS), (TOKENS, UNNAMED)]
)
@pytest.mark.parametrize("alias", ["production", "canary"])
def test_versions_of_different_task_types_share_no_alias(store: Store, versions: tuple[int, ...], alias: str) -> None:
    """Whether it is moved or created; nothing is changed."""
    before = store.list_aliases(F, "mood")
    with pytest.raises(InvalidTargets, match="the versions of one alias have one task type"):
        split(store, *versions, alias=alias)
    assert store.list_aliases(F, "mood") == before


def test_the_refusal_says_which_versions_differ(store: Store) -> None:
    """In one sentence, with what each is for."""
    with pytest.raises(InvalidTargets) as refusal:
        split(store, CLASSES, TEXT)
    assert str(refusal.value) == DIFFER


@pytest.mark.parametrize("versions", [(CLASSES, MORE_CLASSES), (TEXT, UNNAMED)])
def test_versions_of_one_task_type_share_an_alias(store: Store, versions: tuple[int, ...]) -> None:
    """A checkpoint that names no task type is for the generating one."""
    split(store, *versions)
    assert targets(store) == list(versions)


def test_an_ensemble_has_the_task_type_of_its_members(store: Store) -> None:
    """It may stand beside one of them, and not beside a version that writes text."""
    ensemble = store.publish_ensemble(F, "mood", [CLASSES, MORE_CLASSES], Manifest()).version.version
    split(store, CLASSES, ensemble)
    with pytest.raises(InvalidTargets, match=f"version {ensemble} for SEQ_CLS"):
        split(store, TEXT, ensemble)
    assert targets(store) == [CLASSES, ensemble]


def promote(store: Store) -> None:
    store.publish("mood", of_type(1, "SEQ_CLS"), Manifest(), promote=True)


SWAPS: dict[str, Callable[[Store], object]] = {"moved": lambda store: split(store, CLASSES), "promoted": promote}


@pytest.mark.parametrize("how", SWAPS)
def test_an_alias_moves_to_one_version_of_any_task_type_and_back(store: Store, how: str) -> None:
    """One version answers at a time, also where several did before."""
    split(store, TEXT, UNNAMED)
    SWAPS[how](store)
    assert targets(store) == [CLASSES]
    assert [target.version for target in store.rollback(F, "mood").targets] == [TEXT, UNNAMED]


def test_a_job_promotes_its_version_whatever_answered_before(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Its version is the only target then."""
    etag = split(store, CLASSES, MORE_CLASSES).etag
    assert complete(tuning, running(tuning, create_job), Promotion(True, False, etag, "gate: 0.9"), seed=9)
    assert len(targets(store)) == 1


def test_a_shadow_may_be_of_another_task_type(store: Store) -> None:
    """It answers no caller."""
    assert split(store, CLASSES, alias="next", shadow_of="production").shadow_of == "production"


def test_a_rollback_passes_over_versions_of_different_task_types(store: Store) -> None:
    """An earlier release let an alias move there."""
    split(store, UNNAMED)
    with mock.patch.object(aliases, "check_one_task_type"):
        split(store, TEXT, CLASSES)
    split(store, TOKENS)
    assert [target.version for target in store.rollback(F, "mood").targets] == [UNNAMED]
