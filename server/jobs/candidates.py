"""Versions of the store, loaded for an evaluation."""

from __future__ import annotations

from prompts_store.checkpoint_records import BaseModel
from prompts_store.errors import NotFound, StoreError, StoreUnavailable
from prompts_store.names import PRODUCTION
from prompts_store.records import AliasRecord, VersionRecord
from prompts_store.store import Store
from server.model.errors import ModelError
from server.tuning.candidate import Candidate, published
from server.tuning.errors import EvaluationFailed
from server.tuning.judgement import Aim, Rival
from server.tuning.scores import Unscored


def load_candidate(store: Store, base: BaseModel, record: VersionRecord) -> Candidate:
    """A version, or an ensemble with all its members, even if they have been retired since it was resolved.

    Raises what `Store.load_content` raises, and `ModelError` and `EvaluationFailed` for a head that is not scored.
    """
    contents = [
        store.load_content(record.base_fingerprint, record.task, part.version, include_retired=True)
        for part in record.parts
    ]
    return published(base, record, contents)


def load_rival(store: Store, base: BaseModel, aim: Aim) -> Rival | None:
    """The version in production, None without one. Its tensors are loaded now, so that a later retirement does no harm.

    Raises StoreUnavailable. Any other error of the store, and a head that is not scored, make the candidate `Unscored`.
    """
    try:
        alias = store.get_alias(base.fingerprint, aim.task, PRODUCTION)
    except NotFound:
        return None
    return Rival(alias, _candidate(store, base, alias) if aim.needs_rival else None)


def _candidate(store: Store, base: BaseModel, alias: AliasRecord) -> Candidate | Unscored:
    try:
        record = store.get_version(base.fingerprint, alias.task, alias.version, include_retired=True)
        return load_candidate(store, base, record)
    except StoreUnavailable:
        raise
    except (StoreError, ModelError, EvaluationFailed) as error:
        return Unscored(f"{alias.task}@{alias.version}", str(error))
