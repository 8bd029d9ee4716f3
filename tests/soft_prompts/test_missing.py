"""Names remembered as missing: for a short time, and not more than so many."""

import pytest

from prompts_store.errors import AliasNotFound, TaskNotFound
from prompts_store.names import TaskReference
from server.soft_prompts.missing import MissingNames

PLAIN, CANARY = TaskReference.parse("a"), TaskReference.parse("a@canary")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def missing(clock):
    return MissingNames(max_names=2, ttl_s=1.0, clock=clock)


def test_a_missing_alias_says_nothing_of_the_task(missing):
    missing.add(CANARY, AliasNotFound("no"))
    assert isinstance(missing.get(CANARY), AliasNotFound)
    assert missing.get(PLAIN) is None


def test_a_missing_task_answers_for_all_its_references(missing):
    missing.add(CANARY, TaskNotFound("no"))
    assert isinstance(missing.get(PLAIN), TaskNotFound)


def test_it_is_forgotten_in_time_or_when_the_task_changes(missing, clock):
    missing.add(CANARY, AliasNotFound("no"))
    missing.forget({"b"})
    clock.now = 0.9
    assert missing.get(CANARY) is not None
    clock.now = 1.0
    assert missing.get(CANARY) is None
    missing.add(CANARY, AliasNotFound("no"))
    missing.forget({"a"})
    assert missing.get(CANARY) is None


def test_the_oldest_goes_first(missing):
    for name in ("a", "b", "c"):
        missing.add(TaskReference.parse(name), TaskNotFound("no"))
    assert len(missing) == 2
    assert missing.get(PLAIN) is None
    assert missing.get(TaskReference.parse("c")) is not None


def test_what_is_over_makes_room(clock):
    missing = MissingNames(max_names=100, ttl_s=1.0, clock=clock)
    for number in range(50):
        missing.add(TaskReference.parse(f"a{number}"), TaskNotFound("no"))
    clock.now = 1.0
    missing.add(PLAIN, TaskNotFound("no"))
    assert len(missing) == 1
