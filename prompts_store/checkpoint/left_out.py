"""Tensors that PEFT may save beside a soft prompt's own, and that no soft prompt needs: they are left out, and named.

Two kinds. Tensors under `prompt_encoder.` are what training computed `prompt_embeddings` from; PEFT drops them, or
writes `prompt_embeddings` over them. An embedding layer is part of the base model; PEFT loads it in the place of the
base model's own, so embedding_check.py compares the two. Both are found by name alone: nothing here needs NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from prompts_store.checkpoint.safetensors_header import (
    PARAM,
    ByteSource,
    Entry,
    Header,
    check_layout,
    header_bytes,
    read_header,
)
from prompts_store.checkpoint_records import LeftOut
from prompts_store.errors import CheckpointTooLarge, MalformedTensors

_INPUT_LAYERS = {"word_embeddings", "embed_tokens", "wte", "shared", "embed_in"}
_OUTPUT_LAYERS = {"lm_head", "embed_out"}
_ENCODER = "prompt_encoder."
_ADDED = "delta_embedding"
"""Of CPT. PEFT adds it to `prompt_embeddings` where a file holds both, so it is not left out."""
_OWN = "prompt_embeddings"


@dataclass(frozen=True, slots=True)
class FileEntries:
    """Some tensors of a file that can still be read. The offsets of `entries` count from the beginning of `source`."""

    source: ByteSource
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class NeededTensors:
    """A safetensors file without the tensors that are left out; with all of them if `left_out` is None."""

    content: bytes
    left_out: FileEntries | None = None


def is_left_out(name: str) -> bool:
    """Return whether a tensor of this name is left out."""
    return is_embedding(name) or (name.startswith(_ENCODER) and _ADDED not in name.split("."))


def is_embedding(name: str) -> bool:
    """Return whether a tensor of this name belongs to an embedding layer of the base model."""
    return not name.startswith(_ENCODER) and not (_INPUT_LAYERS | _OUTPUT_LAYERS).isdisjoint(name.split("."))


def is_output_layer(name: str) -> bool:
    """Return whether an embedding layer of this name makes logits, and no hidden states."""
    return not _OUTPUT_LAYERS.isdisjoint(name.split("."))


def advice_without_rows(names: Iterable[str]) -> str | None:
    """Return why a file with these tensors and no `prompt_embeddings` cannot be used, if the names say so."""
    held = [name for name in names if name.startswith(_ENCODER) or name.endswith(f".{_OWN}")]
    if not held:
        return None
    return (
        f"The file holds the state of a training run, and no {_OWN}. Load that state where it was trained, and save "
        "the soft prompt with PEFT's save_pretrained."
    )


def needed_tensors(source: ByteSource, *, max_bytes: int) -> NeededTensors:
    """Read the header of a file, and of its tensors those that are not left out.

    `max_bytes` limits the file that is returned. Raises MalformedTensors, CheckpointTooLarge, and what the source
    raises.
    """
    header = read_header(source)
    names = [entry.name for entry in header.entries]
    if _OWN not in names and (advice := advice_without_rows(names)):
        raise MalformedTensors(advice, param=PARAM)
    left_out = [entry for entry in header.entries if is_left_out(entry.name)]
    if left_out:
        check_layout(header, source.num_bytes)  # before tensors that share bytes could make the file longer than it is
    num_bytes = source.num_bytes - sum(entry.num_bytes for entry in left_out)
    if num_bytes > max_bytes:
        message = f"The file without what is left out has {num_bytes} bytes; the maximum is {max_bytes}."
        raise CheckpointTooLarge(message, param=PARAM)
    if not left_out:
        return NeededTensors(source.read(0, source.num_bytes))
    return NeededTensors(_without(source, header), file_entries(source, header, left_out))


def uncompared(entry: Entry) -> LeftOut:
    """Return what is told of a tensor that was not compared with the base model's."""
    return LeftOut(entry.name, entry.num_bytes, is_embedding(entry.name), was_compared=False)


def file_entries(source: ByteSource, header: Header, entries: Iterable[Entry]) -> FileEntries:
    """Return some tensors of a file by their places in it."""
    begin = header.body_begin
    moved = (replace(entry, begin=entry.begin + begin, end=entry.end + begin) for entry in entries)
    return FileEntries(source, tuple(moved))


def _without(source: ByteSource, header: Header) -> bytes:
    """Return a file with the tensors that are not left out, in their order."""
    body, entries = bytearray(), []
    for entry in sorted(header.entries, key=lambda entry: (entry.begin, entry.end)):
        if not is_left_out(entry.name):
            begin = len(body)
            body += source.read(entry.begin + header.body_begin, entry.end + header.body_begin)
            entries.append(replace(entry, begin=begin, end=len(body)))
    return header_bytes(entries) + bytes(body)
