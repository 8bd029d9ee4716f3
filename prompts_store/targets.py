"""The versions that an alias names, their weights, and the choice of one for a caller."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Sequence

from prompts_store.errors import InvalidTargets
from prompts_store.names import MAX_VERSION, check_alias_name
from prompts_store.records import AliasRecord, AliasTarget, Resolution, VersionRecord
from prompts_store.strict_json import canonical

MAX_TARGETS = 8
MAX_WEIGHT = 1_000_000


def choose_target(alias: AliasRecord, sticky_key: bytes | None) -> int:
    """Return the version for a caller: always the same one for a key, a random one by weight without a key.

    Weighted rendezvous hashing (Schindelhauer and Schomaker 2005): a version's score depends on its own weight only and
    grows with it; the highest score wins. So a higher weight moves callers to that version only, a lower weight moves
    callers away from that version only, and a common factor of all weights moves nobody. Each alias spreads keys anew.
    """
    key = secrets.token_bytes(16) if sticky_key is None else sticky_key
    if len(alias.targets) == 1:
        return alias.targets[0].version
    return max(alias.targets, key=lambda target: _score(alias, target, key)).version


def choose_version(resolution: Resolution, sticky_key: bytes | None) -> VersionRecord:
    """Return the version for a caller, chosen by choose_target."""
    if resolution.alias is None:
        return resolution.versions[0]
    number = choose_target(resolution.alias, sticky_key)
    return next(version for version in resolution.versions if version.version == number)


def check_targets(targets: int | Sequence[AliasTarget]) -> tuple[AliasTarget, ...]:
    """Return targets in the order of their versions; a number alone is one version. Raises InvalidTargets."""
    if isinstance(targets, int):
        return (AliasTarget(targets),)
    if not 1 <= len(targets) <= MAX_TARGETS:
        raise InvalidTargets(f"There are {len(targets)} targets; an alias has 1 to {MAX_TARGETS}.")
    if not all(1 <= target.weight <= MAX_WEIGHT for target in targets):
        raise InvalidTargets(f"A weight must be an integer from 1 to {MAX_WEIGHT}.")
    if not all(1 <= target.version <= MAX_VERSION for target in targets):
        raise InvalidTargets(f"A version number must be from 1 to {MAX_VERSION}.")
    if len({target.version for target in targets}) != len(targets):
        raise InvalidTargets("Two targets are the same version; list each version once.")
    return tuple(sorted(targets))


def check_one_task_type(versions: Sequence[VersionRecord]) -> None:
    """Raise InvalidTargets unless all versions of an alias are of one task type: its callers expect one form of answer.

    Versions that generate text are of one type, whatever their checkpoints call it.
    """
    first = versions[0]
    for other in versions[1:]:
        if other.head_type != first.head_type:
            ours, theirs = (version.head_type or "text generation" for version in (first, other))
            raise InvalidTargets(
                f"Version {first.version} is for {ours} and version {other.version} for {theirs}; the versions of one "
                "alias have one task type."
            )


def check_shadow(alias: str, shadow_of: str | None, targets: Sequence[AliasTarget]) -> None:
    """Raise InvalidTargets unless an alias may be the shadow of another; InvalidName for the other's name."""
    if shadow_of is None:
        return
    check_alias_name(shadow_of)
    if shadow_of == alias:
        raise InvalidTargets("An alias cannot be its own shadow.")
    if len(targets) != 1:
        raise InvalidTargets(f"A shadow has {len(targets)} targets; it must have exactly one.")


def targets_to_json(targets: Sequence[AliasTarget]) -> str:
    """Return targets in their stored form."""
    return canonical([[target.version, target.weight] for target in targets])


def targets_from_json(text: str | None) -> tuple[AliasTarget, ...]:
    """Return the targets in a stored text; none for None."""
    return tuple(AliasTarget(version, weight) for version, weight in json.loads(text or "[]"))


def _score(alias: AliasRecord, target: AliasTarget, key: bytes) -> float:
    """Return a positive number, distributed so that it is the highest with the probability of the target's share."""
    name = canonical([alias.task, alias.alias, target.version]).encode()
    digest = hashlib.sha256(b"softprompt.canary.v1\0" + name + b"\0" + key).digest()
    uniform = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
    return target.weight / -math.log(uniform)
