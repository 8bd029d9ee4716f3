"""Checkpoints on a hub, by `ORG/NAME`. `huggingface_hub` downloads them into its own cache, on the client's side.

Of a large file, parts are read from the hub, and nothing is cached: it holds an embedding layer beside the soft prompt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prompts_store.checkpoint.folder import CONFIG, MAX_WHOLE_BYTES, PICKLE, TENSORS, FileSource
from prompts_store.checkpoint.safetensors_header import ByteSource
from server.cli.errors import FilesProblem

_PARTIAL = 206
_TIMEOUT_S = 60
_HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")


def is_hub_id(source: str) -> bool:
    """Return whether this is the id of a checkpoint on a hub. A file or folder here of that name takes precedence."""
    return _HUB_ID.fullmatch(source) is not None and not os.path.lexists(source)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on a hub of which parts are read."""

    name: str
    url: str
    num_bytes: int

    def read(self, begin: int, end: int) -> bytes:
        """See `ByteSource`. Raises FilesProblem."""
        from huggingface_hub import get_session, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, and not in __all__

        if begin == end:
            return b""
        headers = {**build_hf_headers(), "Range": f"bytes={begin}-{end - 1}"}
        try:
            with get_session().stream("GET", self.url, headers=headers, timeout=_TIMEOUT_S) as response:
                if response.is_error:
                    response.read()  # its text is part of the error
                hf_raise_for_status(response)
                data = response.read() if response.status_code == _PARTIAL else b""
        except Exception as error:  # which HTTP library raises it is the hub library's choice
            raise FilesProblem(f"a part of {self.name} cannot be downloaded: {error}") from error
        if len(data) != end - begin:
            raise FilesProblem(
                f"the hub does not send parts of {self.name}, which has {self.num_bytes} bytes; download it with "
                "`hf download`, and publish its folder"
            )
        return data


@dataclass(frozen=True, slots=True)
class Download:
    """The two files of a checkpoint, of one commit. `config` is a file in the hub's cache."""

    commit: str
    config: Path
    tensors: ByteSource


def download(hub_id: str, revision: str | None) -> Download:
    """Download the two files of a checkpoint, and nothing else; of a large one of tensors nothing yet.

    `revision` is a branch, a tag or a commit; by default the main branch. Both files are of one commit. Raises
    FilesProblem.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        config = _download_file(hub_id, CONFIG, revision)
    except LocalEntryNotFoundError as error:
        raise _unreachable(hub_id) from error
    except EntryNotFoundError as error:
        raise FilesProblem(f"{hub_id} on the hub has no {CONFIG}: it is no PEFT checkpoint") from error
    commit = config.parent.name
    try:
        return Download(commit, config, _tensors(hub_id, commit))
    except LocalEntryNotFoundError as error:
        raise _unreachable(hub_id) from error
    except EntryNotFoundError as error:
        raise FilesProblem(_without_tensors(hub_id, commit)) from error


def _tensors(hub_id: str, commit: str) -> ByteSource:
    """Download the tensors, unless the file is large. Raises as `_download_file`, and InvalidFolder."""
    from huggingface_hub import hf_hub_download, hf_hub_url

    with _explained(hub_id, TENSORS, commit):
        found = hf_hub_download(hub_id, TENSORS, revision=commit, dry_run=True)
    if found.is_cached or found.file_size is None or found.file_size <= MAX_WHOLE_BYTES:
        return FileSource.open(_download_file(hub_id, TENSORS, commit))
    url = hf_hub_url(hub_id, TENSORS, revision=commit)
    return HubFile(f"{TENSORS} of {hub_id}", url, found.file_size)


def _download_file(hub_id: str, name: str, revision: str | None) -> Path:
    """Download one file. Raises FilesProblem, EntryNotFoundError and LocalEntryNotFoundError."""
    from huggingface_hub import hf_hub_download

    with _explained(hub_id, name, revision):
        return Path(hf_hub_download(hub_id, name, revision=revision))


@contextmanager
def _explained(hub_id: str, name: str, revision: str | None) -> Iterator[None]:
    """Turn errors of the library into FilesProblem, but EntryNotFoundError and LocalEntryNotFoundError."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except (EntryNotFoundError, LocalEntryNotFoundError):
        raise
    except RepositoryNotFoundError as error:  # a gated one too
        message = f"{hub_id} is neither a folder here nor a checkpoint on the hub that you may read"
        raise FilesProblem(message) from error
    except RevisionNotFoundError as error:
        raise FilesProblem(f"{hub_id} on the hub has no revision {revision}") from error
    except HFValidationError as error:
        raise FilesProblem(f"{hub_id} is neither a folder here nor the id of a checkpoint on a hub") from error
    except OSError as error:  # errors of HTTP are among them
        raise FilesProblem(f"{name} of {hub_id} cannot be downloaded: {error}") from error


def _unreachable(hub_id: str) -> FilesProblem:
    return FilesProblem(f"{hub_id} is no folder here, the hub cannot be reached, and its cache lacks the checkpoint")


def _without_tensors(hub_id: str, commit: str) -> str:
    from huggingface_hub import file_exists

    try:
        has_pickle = file_exists(hub_id, PICKLE, revision=commit)
    except OSError:
        has_pickle = False
    if not has_pickle:
        return f"{hub_id} on the hub has no {TENSORS}"
    return (
        f"{hub_id} on the hub has only {PICKLE}, a pickle; run `hf download {hub_id} --revision {commit} "
        "--local-dir DIR`, then `softprompt task convert DIR`, and publish DIR"
    )
