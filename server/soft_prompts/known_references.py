"""The known task references, and the versions among them by the digest of their tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping

from prompts_store.names import TaskReference
from prompts_store.records import Resolution


class KnownReferences(MutableMapping[TaskReference, Resolution]):
    """A map from references to their resolutions that keeps an index of the versions up to date."""

    def __init__(self) -> None:
        self._resolutions: dict[TaskReference, Resolution] = {}
        self._versions: dict[str, Counter[tuple[str, int]]] = {}

    def versions_of(self, digest: str) -> list[tuple[str, int]]:
        """The task and the number of each known version with these tensors, in order."""
        return sorted(self._versions.get(digest, ()))

    def __getitem__(self, reference: TaskReference) -> Resolution:
        return self._resolutions[reference]

    def __setitem__(self, reference: TaskReference, resolution: Resolution) -> None:
        self.pop(reference, None)
        self._resolutions[reference] = resolution
        for digest, version in _parts(resolution):
            self._versions.setdefault(digest, Counter())[version] += 1

    def __delitem__(self, reference: TaskReference) -> None:
        for digest, version in _parts(self._resolutions.pop(reference)):
            versions = self._versions[digest]
            versions[version] -= 1
            if not versions[version]:
                del versions[version]
            if not versions:
                del self._versions[digest]

    def __iter__(self) -> Iterator[TaskReference]:
        return iter(self._resolutions)

    def __len__(self) -> int:
        return len(self._resolutions)


def _parts(resolution: Resolution) -> Iterator[tuple[str, tuple[str, int]]]:
    """The digest of every part by which a resolution answers, its shadow included, with task and version."""
    for record in (*resolution.versions, resolution.shadow):
        if record is not None:
            for part in record.parts:
                yield part.prefix_digest, (record.task, part.version)
