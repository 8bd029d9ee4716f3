"""A scripted runner over a KV cache that knows what each slot should hold.

No tensors of a model: a slot remembers the whole history (prefix digest, then every token) that its key and value
would come from, and logits are a function of the history read back through the block table. A wrong block, a stale
slot, a forgotten copy or another task's content is noted as a violation and changes the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from server.model.errors import NonFiniteValues
from server.model.flat_batch import Chunk
from server.model.kv_cache import BlockCopy
from server.model.prefix import Prefix, PrefixKind
from server.model.runner import PrefixPlacement

VOCAB_SIZE = 13
EOS = 0
NAN_TOKEN = 12  # a token whose keys, values and logits are NaN, as an overflow in half precision would make them

History = int


class InjectedFailure(Exception):
    """What a test made a runner raise."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a slot holds: the history up to its position, the history before it, and whether it is NaN."""

    history: History
    before: History
    position: int
    is_nan: bool = False


def text_root() -> History:
    """The history before the first token where there is no prefix."""
    return hash((0, 0))


def prefix_history(prefix: Prefix, position: int) -> History:
    """The history at a virtual position."""
    return hash((int(prefix.digest[:14], 16), position, 1))


def next_history(before: History, token: int, encoded: History = 0) -> History:
    """The history after one more text token, which a decoder computes from what its encoder read, too."""
    return hash((before, token, 2, encoded))


def history_of(prefix: Prefix | None, tokens: Sequence[int], encoded: History = 0) -> History:
    """The history after a prefix and tokens."""
    history = text_root() if prefix is None else prefix_history(prefix, prefix.num_virtual_tokens - 1)
    for token in tokens:
        history = next_history(history, token, encoded)
    return history


def encoder_history(prompt: torch.Tensor | None, tokens: Sequence[int]) -> History:
    """What an encoder makes of a whole input; each of its positions depends on all others."""
    rows = () if prompt is None else tuple(prompt[:, 0].tolist())
    return hash((rows, tuple(tokens), 4))


def scripted_logits(history: History) -> list[float]:
    """The model: a row of logits from nothing but the history. The NaN token is rare and the end token not frequent."""
    row = [(hash((history, token, 3)) >> 7) % 997 / 200 for token in range(VOCAB_SIZE)]
    row[NAN_TOKEN] -= 1.5
    row[EOS] -= 0.5
    return row


def make_prefix(number: int, num_virtual_tokens: int, kind: PrefixKind = PrefixKind.EMBEDDINGS) -> Prefix:
    """A soft prompt that exists in name only; equal numbers make equal digests."""
    digest = f"{number:014x}".rjust(14, "0").ljust(64, "0")
    return Prefix(digest, kind, torch.full((num_virtual_tokens, 1), float(number)))


@dataclass
class ScriptedRunner:
    """Implements `Runner`.

    `fail_next` names the calls ("load", "copy", "forward", "zero") that raise when next made. Prefixes whose digest is
    in `failing_prefixes` do not load. Once `is_dead`, it computes nothing any more. `references` lets it check that it
    writes only into blocks held exactly once. Whatever was read or written wrongly is in `violations`.
    """

    num_blocks: int
    block_size: int
    max_batch_tokens: int = 1 << 30
    max_num_seqs: int = 1 << 30
    max_logits: int = 1 << 30
    references: Callable[[int], int] | None = None
    fail_next: set[str] = field(default_factory=set)
    failing_prefixes: set[str] = field(default_factory=set)
    is_dead: bool = False
    violations: list[str] = field(default_factory=list)
    batches: list[tuple[int, ...]] = field(default_factory=list)
    loads: list[tuple[int, ...]] = field(default_factory=list)
    num_copies: int = 0
    num_encoded: int = 0
    on_forward: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._cells: list[list[Cell | None]] = [[None] * self.block_size for _ in range(self.num_blocks)]

    def load_prefixes(self, placements: Sequence[PrefixPlacement]) -> tuple[BaseException | None, ...]:
        failing = "load" in self.fail_next
        sizes = tuple(placement.prefix.num_virtual_tokens for placement in placements)
        self.loads.append(sizes)
        is_bounded = len(sizes) == 1 or sum(sizes) <= self.max_batch_tokens
        self._require(is_bounded, f"prefixes of {sizes} tokens are loaded at once")
        for placement in placements:
            bad = failing or placement.prefix.digest in self.failing_prefixes
            self._require(len(set(placement.blocks)) == len(placement.blocks), "a prefix owns a block twice")
            for position in range(placement.prefix.num_virtual_tokens):
                history = prefix_history(placement.prefix, position)
                before = prefix_history(placement.prefix, position - 1) if position else text_root()
                self._write(placement.blocks, position, Cell(history, before, position, is_nan=bad))
        self._raise_if_asked("load")
        return tuple(
            NonFiniteValues("the prefix is not finite") if self._has_nan(placement.blocks) else None
            for placement in placements
        )

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        self._raise_if_asked("copy")
        for copy in copies:
            self.num_copies += 1
            self._require_owned(copy.target)
            self._cells[copy.target][: copy.num_slots] = self._cells[copy.source][: copy.num_slots]

    def zero_blocks(self, blocks: Sequence[int]) -> None:
        self._raise_if_asked("zero")
        for block in blocks:
            self._cells[block] = [None] * self.block_size

    def check_device(self) -> None:
        if self.is_dead:
            raise InjectedFailure("the device is dead")

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        self.on_forward()
        self.check_device()
        sizes = tuple(chunk.num_tokens for chunk in chunks)
        self.batches.append(sizes)
        self._require(sum(sizes) <= self.max_batch_tokens, f"a step of {sum(sizes)} tokens")
        inputs = [chunk.cross.num_positions for chunk in chunks if chunk.cross and chunk.cross.new]
        is_bounded = len(inputs) <= 1 or sum((*sizes, *inputs)) <= self.max_batch_tokens
        self._require(is_bounded, f"a step of {sum(sizes)} tokens encodes inputs of {inputs}")
        self._require(len(sizes) <= self.max_num_seqs, f"a step of {len(sizes)} sequences")
        num_logits = sum(chunk.num_logits for chunk in chunks)
        self._require(num_logits <= self.max_logits, f"a step of {num_logits} rows of logits")
        self._require(min(sizes) > 0, "an empty chunk")
        failing = "forward" in self.fail_next
        for chunk in chunks:
            self._encode(chunk, failing)
        histories = [self._store(chunk, failing) for chunk in chunks]
        self._raise_if_asked("forward")
        rows: list[list[float]] = []
        for chunk, after in zip(chunks, histories, strict=True):
            is_nan = self._has_nan(self._gathered(chunk))  # NaN in a masked slot too: zero times NaN is NaN
            for history in after[len(after) - chunk.num_logits :]:
                rows.append([float("nan")] * VOCAB_SIZE if is_nan else scripted_logits(history))
        return torch.tensor(rows).reshape(len(rows), VOCAB_SIZE)

    def _store(self, chunk: Chunk, failing: bool) -> list[History]:
        """Check everything before the chunk, write its cells, and return the history after each of its tokens."""
        assert not isinstance(chunk.tokens, torch.Tensor)
        encoded = self._read_encoded(chunk)
        history = self._read_back(chunk)
        after = []
        for position, token in enumerate(chunk.tokens, start=chunk.start):
            before, history = history, next_history(history, token, encoded)
            self._write(chunk.block_table, position, Cell(history, before, position, failing or token == NAN_TOKEN))
            after.append(history)
        return after

    def _encode(self, chunk: Chunk, failing: bool) -> None:
        """Write the cells of a new encoder input."""
        if chunk.cross is None or chunk.cross.new is None:
            return
        new = chunk.cross.new
        self.num_encoded += 1
        encoded = encoder_history(new.prompt, new.tokens)
        num_positions = len(new.tokens) + (0 if new.prompt is None else len(new.prompt))
        self._require(num_positions == chunk.cross.num_positions, "an encoder input of another length than its table")
        is_nan = failing or NAN_TOKEN in new.tokens
        for position in range(num_positions):
            self._write(chunk.cross.block_table, position, Cell(encoded, encoded, position, is_nan))

    def _read_encoded(self, chunk: Chunk) -> History:
        """What the cross table holds: one input, whole and in order."""
        if chunk.cross is None:
            return 0
        found = None
        for position in range(chunk.cross.num_positions):
            block, slot = divmod(position, self.block_size)
            cell = self._cells[chunk.cross.block_table[block]][slot]
            is_next = cell is not None and cell.position == position and cell.history == cell.before
            if cell is None or not is_next or found not in (None, cell.history):
                self._require(False, f"encoder position {position} holds {cell}")
                return hash((position, "lost"))
            found = cell.history
        return found or 0

    def _read_back(self, chunk: Chunk) -> History:
        """The history that the block table holds before the chunk."""
        history = text_root()
        for position in range(chunk.start):
            block, slot = divmod(position, self.block_size)
            cell = self._cells[chunk.block_table[block]][slot]
            where = f"position {position} (block {chunk.block_table[block]}, slot {slot})"
            if cell is None or cell.position != position or cell.before != history:
                self._require(False, f"{where} holds {cell}, not what follows {history}")
                return hash((history, position, "lost"))
            history = cell.history
        return history

    def _write(self, table: Sequence[int], position: int, cell: Cell) -> None:
        block, slot = divmod(position, self.block_size)
        self._require_owned(table[block])
        self._cells[table[block]][slot] = cell

    def _gathered(self, chunk: Chunk) -> Sequence[int]:
        own = chunk.block_table[: -(-(chunk.start + chunk.num_tokens) // self.block_size)]
        return [*own, *([] if chunk.cross is None else chunk.cross.block_table)]

    def _has_nan(self, blocks: Sequence[int]) -> bool:
        return any(cell is not None and cell.is_nan for block in blocks for cell in self._cells[block])

    def _require_owned(self, block: int) -> None:
        self._require(block != 0, "the padding block was written")
        if self.references is not None:
            count = self.references(block)
            self._require(count == 1, f"block {block}, held {count} times, was written")

    def _require(self, is_true: bool, violation: str) -> None:
        if not is_true:
            self.violations.append(violation)

    def _raise_if_asked(self, call: str) -> None:
        if call in self.fail_next:
            self.fail_next.discard(call)
            raise InjectedFailure(call)
