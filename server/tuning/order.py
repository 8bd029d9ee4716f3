"""Order of the examples: seeded permutations, one per epoch, computed in small parts."""

from __future__ import annotations

import random
from array import array


class ExampleOrder:
    """Examples of each step. They depend on the seed and the number of the step only.

    A permutation of many examples takes as long as many steps. So the constructor computes the permutation that the run
    starts in, and each step computes its share of the next one. `first_step` is the step that the run starts with.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int, first_step: int = 0) -> None:
        self._batch_size = batch_size
        self._seed = seed
        self._in_order = array("I", range(num_examples))
        self._shuffles: dict[int, _Shuffle] = {}
        epoch, place = divmod(first_step * batch_size, num_examples)
        self._shuffle(epoch).advance(num_examples)
        self._shuffle(epoch + 1).advance(place)

    def of_step(self, step: int) -> list[int]:
        """Indices of a step's examples. Steps count from 0; a batch may extend into the next permutation."""
        first = step * self._batch_size
        return [self._index(place) for place in range(first, first + self._batch_size)]

    def _index(self, place: int) -> int:
        epoch, index = divmod(place, len(self._in_order))
        self._shuffle(epoch + 1).advance(1)
        return self._shuffle(epoch).finished[index]

    def _shuffle(self, epoch: int) -> _Shuffle:
        """The permutation of an epoch. It and its two neighbours stay in memory."""
        found = self._shuffles.get(epoch)
        if found is None:
            found = _Shuffle(self._in_order, f"{self._seed} {epoch}")
            self._shuffles = {kept: one for kept, one in self._shuffles.items() if abs(kept - epoch) <= 1}
            self._shuffles[epoch] = found
        return found


class _Shuffle:
    """The permutation of `random.shuffle`, with the same swaps, computed in parts."""

    def __init__(self, in_order: array[int], seed: str) -> None:
        self._random = random.Random(seed)
        self._order = in_order[:]
        self._num_open = len(in_order)  # positions that may still change; those behind them are final

    @property
    def finished(self) -> array[int]:
        """The whole permutation. Computes what is left of it."""
        if self._num_open > 1:
            self.advance(self._num_open)
        return self._order

    def advance(self, num_places: int) -> None:
        """Compute this many more positions."""
        order, draw = self._order, self._random.randrange
        for place in range(self._num_open - 1, max(0, self._num_open - 1 - num_places), -1):
            other = draw(place + 1)
            order[place], order[other] = order[other], order[place]
        self._num_open = max(1, self._num_open - num_places)
