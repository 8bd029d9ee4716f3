"""`softprompt task import`: publishes a folder of many checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prompts_store.checkpoint.folder import CONFIG, holds_version
from prompts_store.errors import StoreError, StoreUnavailable
from server.cli.errors import FilesProblem, ServerRefused
from server.cli.output import advancing
from server.cli.tasks.backend import TaskBackend
from server.cli.tasks.ensemble_folder import publish_folder
from server.cli.tasks.publication import PublishResult

SERVER_ERRORS = 500


def import_folder(
    backend: TaskBackend, folder: Path, *, promote: bool
) -> tuple[Sequence[PublishResult], Mapping[str, str]]:
    """Publish each `folder/<task>/`. Return the results, and the reason for each folder that was refused.

    Raises FilesProblem if there is nothing to import, and every error that does not concern one folder alone.
    """
    try:
        found = sorted(path for path in folder.iterdir() if holds_version(path))
    except OSError as error:
        raise FilesProblem(f"cannot read {folder}: {error.strerror}") from error
    if not found:
        raise FilesProblem(f"{folder} contains no folder with an {CONFIG}")
    published, refused = [], {}
    for path in advancing(f"Importing {folder}", found):
        try:
            published.append(publish_folder(backend, path, promote=promote))
        except StoreUnavailable:
            raise
        except (FilesProblem, StoreError) as error:
            refused[path.name] = str(error)
        except ServerRefused as error:
            if error.status >= SERVER_ERRORS:
                raise
            refused[path.name] = str(error)
    return published, refused
