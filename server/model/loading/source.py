"""What `--base-model` and `--revision` name, and why it is not there: a folder, a GGUF file or a hub id."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub.constants import is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._validators import validate_repo_id

from server.model.errors import BaseModelUnavailable
from server.model.gguf.base_file import is_gguf
from server.model.model_files import CONFIG, check_files, find_file

_NOT_HUB_IDS = ("/", ".", "~")
_HUB = "https://huggingface.co/"


def check_source(source: str, revision: str | None) -> None:
    """Find the configuration of a folder or hub id; a hub's is fetched. Say what is wrong with a name that has none.

    A GGUF file is checked where it is read. Raises `BaseModelUnavailable`.
    """
    is_local = os.path.isdir(source)
    if revision is not None and (is_local or is_gguf(source)):
        raise BaseModelUnavailable(
            f"{source!r} is local, and --revision chooses a version of a hub id: leave one of both out"
        )
    if is_gguf(source):
        return
    if not is_local:
        _check_hub_id(source)
    try:
        find_file(source, revision, CONFIG)
    except OSError as error:
        if is_local or _is_known_to_lack_it(error):
            check_files(source, revision)
            raise BaseModelUnavailable(_without_config(source)) from error
        raise BaseModelUnavailable(_unreachable(source, revision, error)) from error
    check_files(source, revision)


def _is_known_to_lack_it(error: OSError) -> bool:
    """Whether the hub, or its cache, answered that the repository has no such file."""
    cause = error.__cause__
    return cause is None or (isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError))


def _check_hub_id(source: str) -> None:
    """Refuse what is no local folder and can be no hub id."""
    if os.path.isfile(source):
        raise BaseModelUnavailable(
            f"{source!r} is a file: name the folder that holds {CONFIG} and the weights, or a file that ends in .gguf"
        )
    if source.startswith(_NOT_HUB_IDS):
        raise BaseModelUnavailable(f"there is no folder {source!r}")
    if "://" in source:
        hub_id = "/".join(source.removeprefix(_HUB).split("/")[:2])
        named = f", {hub_id!r}" if source.startswith(_HUB) else ""
        raise BaseModelUnavailable(f"{source!r} is an address: name the hub id alone{named}")
    try:
        validate_repo_id(source)
    except HFValidationError as error:
        raise BaseModelUnavailable(
            f"there is no folder {source!r}, and it is no hub id, which has the form 'name' or 'org/name'"
        ) from error


def _without_config(source: str) -> str:
    if not os.path.isdir(source):
        return f"the hub's {source!r} holds no {CONFIG}: it is no model that transformers loads"
    snapshots = sorted(Path(source, "snapshots").glob(f"*/{CONFIG}"))
    if snapshots:
        return f"{source!r} is a folder of the hub's cache: name its snapshot, {str(snapshots[-1].parent)!r}"
    return f"the folder {source!r} holds no {CONFIG}: name a folder that save_pretrained wrote"


def _unreachable(source: str, revision: str | None, error: OSError) -> str:
    cause = error.__cause__
    nowhere = f"there is no folder {source!r} here"
    if isinstance(cause, GatedRepoError):
        return f"the hub gives {source!r} only to accounts that accepted its terms: accept them there, and set HF_TOKEN"
    if isinstance(cause, RepositoryNotFoundError):
        return f"{nowhere}, and the hub has no such model; a private one needs HF_TOKEN"
    if isinstance(cause, RevisionNotFoundError):
        return f"the hub's {source!r} has no branch, tag or commit {revision!r}"
    wanted = source if revision is None else f"{source} --revision {revision}"
    if isinstance(cause, LocalEntryNotFoundError):
        why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "the hub cannot be reached"
        return f"{nowhere}, the hub's cache does not hold it, and {why}: fetch it with: hf download {wanted}"
    return f"{nowhere}, and the hub did not give it: {' '.join(str(error).split())[:200]}"
