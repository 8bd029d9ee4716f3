"""The embedding layers of a base model as its files hold them, without loading it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompts_store.checkpoint.folder import FileSource
from prompts_store.checkpoint.left_out import FileEntries, file_entries, is_embedding
from prompts_store.errors import StoreError
from server.model.gguf.base_file import is_gguf
from server.model.loading.stored_ranges import read_weights_header
from server.model.model_files import read_config, weight_files


def embedding_layers(source: str, revision: str | None) -> Sequence[FileEntries]:
    """Return the embedding layers of a base model, by the files that hold them.

    Nothing is returned for a GGUF file, for a base model that is no safetensors file, and for files that cannot be
    read.
    """
    if is_gguf(source):
        return ()
    try:
        files = weight_files(source, revision, read_config(source, revision))
        return [layers for file in files if file.suffix == ".safetensors" for layers in _layers_of(file)]
    except (OSError, ValueError, StoreError):
        return ()


def _layers_of(file: Path) -> Sequence[FileEntries]:
    source = FileSource.open(file)
    header = read_weights_header(source)
    found = file_entries(source, header, (entry for entry in header.entries if is_embedding(entry.name)))
    return [found] if found.entries else []
