"""Ensembles: versions without tensors that combine the answers of other versions of their task.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 6 and table 3.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from prompts_store.checkpoint.digests import ensemble_digest
from prompts_store.checkpoint_records import TaskType
from prompts_store.errors import InvalidMembers
from prompts_store.limits import MAX_MEMBERS, MIN_MEMBERS
from prompts_store.manifest import SHARED_BY_MEMBERS, Manifest
from prompts_store.names import MAX_VERSION
from prompts_store.records import EnsembleDraft, EnsembleMember, VersionRecord
from prompts_store.strict_json import canonical


def check_members(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of an ensemble's versions as they were given. Raises InvalidMembers."""
    if not MIN_MEMBERS <= len(numbers) <= MAX_MEMBERS:
        raise InvalidMembers(f"There are {len(numbers)} members; an ensemble has {MIN_MEMBERS} to {MAX_MEMBERS}.")
    if not all(1 <= number <= MAX_VERSION for number in numbers):
        raise InvalidMembers(f"A version number must be from 1 to {MAX_VERSION}.")
    if len(set(numbers)) != len(numbers):
        raise InvalidMembers("Two members are the same version; list each version once.")
    return tuple(numbers)


def draft_ensemble(
    task: str, numbers: Sequence[int], live: Sequence[VersionRecord], manifest: Manifest, *, actor: str
) -> EnsembleDraft:
    """Check and digest an ensemble of `numbers`, of which `live` are the live versions.

    Its members must be equal in the fields of `SHARED_BY_MEMBERS`, and the ensemble takes these from them.
    Raises InvalidMembers and InvalidManifest.
    """
    by_number = {version.version: version for version in live}
    missing = [number for number in numbers if number not in by_number]
    if missing:
        raise InvalidMembers(f'Task "{task}" has no live version {missing[0]}.')
    versions = [by_number[number] for number in numbers]
    _check_task_types(versions)
    manifest = _shared_manifest(versions, manifest)
    return EnsembleDraft(
        members=tuple(map(_member, versions)),
        manifest=manifest,
        num_virtual_tokens=max(version.num_virtual_tokens for version in versions),
        digest=ensemble_digest([version.digest for version in versions], manifest),
        actor=actor,
        task_type=versions[0].head_type,
    )


def members_to_json(members: Sequence[EnsembleMember]) -> str:
    """Return members in their stored form."""
    return canonical([[member.version, member.digest, member.prefix_digest] for member in members])


def members_from_json(text: str | None) -> tuple[EnsembleMember, ...]:
    """Return the members in a stored text; none for None."""
    return tuple(EnsembleMember(*member) for member in json.loads(text or "[]"))


def _member(version: VersionRecord) -> EnsembleMember:
    if version.prefix_digest is None:
        raise InvalidMembers(f"Version {version.version} is an ensemble; an ensemble cannot be a member.")
    return EnsembleMember(version.version, version.digest, version.prefix_digest)


def _check_task_types(versions: Sequence[VersionRecord]) -> None:
    """Raise InvalidMembers unless the members' answers can be combined: texts by vote, probabilities by their mean."""
    first = versions[0]
    for other in versions[1:]:
        if other.head_type != first.head_type:
            message = f"Versions {first.version} and {other.version} differ in their task type."
            raise InvalidMembers(message)
    if first.has_head and first.task_type is not TaskType.SEQ_CLS:
        raise InvalidMembers(f"The answers of versions for {first.task_type} cannot be combined in an ensemble.")


def _shared_manifest(versions: Sequence[VersionRecord], given: Manifest) -> Manifest:
    """Return the manifest with the members' shared fields. A field that it sets itself must be equal to theirs."""
    first, own = versions[0], Manifest()
    for field in SHARED_BY_MEMBERS:
        theirs = getattr(first.manifest, field)
        for other in versions[1:]:
            if getattr(other.manifest, field) != theirs:
                message = (
                    f"Versions {first.version} and {other.version} differ in {field}; it must be equal in all members."
                )
                raise InvalidMembers(message)
        if getattr(given, field) not in (getattr(own, field), theirs):
            raise InvalidMembers(f"The manifest's {field} differs from that of the members; leave it out.")
    if given.task_index is not None:
        raise InvalidMembers("An ensemble has no task_index, because each member has its own; leave it out.")
    return replace(given, **{field: getattr(first.manifest, field) for field in SHARED_BY_MEMBERS})
