"""The index of known versions by the digest of their tensors."""

from __future__ import annotations

from dataclasses import dataclass

from prompts_store.names import TaskReference
from prompts_store.records import EnsembleMember, Resolution
from server.soft_prompts.known_references import KnownReferences


@dataclass(frozen=True)
class Record:
    """What the index reads of a version."""

    task: str
    parts: tuple[EnsembleMember, ...]


def version(task, number, digest):
    return Record(task, (EnsembleMember(number, "content", digest),))


def meaning(*versions, shadow=None):
    return Resolution(versions, None, shadow)


def test_versions_are_found_by_digest_until_their_last_reference_goes():
    """Two references of one version count twice; a replaced resolution counts no more."""
    known = KnownReferences()
    production, third = TaskReference.parse("mood"), TaskReference.parse("mood@3")
    known[production] = meaning(version("mood", 3, "aa"), shadow=version("mood", 4, "bb"))
    known[third] = meaning(version("mood", 3, "aa"))
    assert known.versions_of("aa") == [("mood", 3)]
    assert known.versions_of("bb") == [("mood", 4)]
    known[production] = meaning(version("mood", 5, "cc"))
    assert (known.versions_of("aa"), known.versions_of("bb")) == ([("mood", 3)], [])
    del known[third]
    assert known.versions_of("aa") == []
    assert list(known) == [production]


def test_tasks_with_the_same_tensors_are_all_named():
    """And each member of an ensemble by its own number."""
    known = KnownReferences()
    members = (EnsembleMember(1, "content", "aa"), EnsembleMember(2, "content", "bb"))
    known[TaskReference.parse("pair")] = meaning(Record("pair", members))
    known[TaskReference.parse("mood")] = meaning(version("mood", 7, "aa"))
    assert known.versions_of("aa") == [("mood", 7), ("pair", 1)]
    assert known.versions_of("bb") == [("pair", 2)]
