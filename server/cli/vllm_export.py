"""`softprompt vllm-export`: a soft prompt as a file of keys and values, which vLLM loads with our connector."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.errors import BaseUnreadable, FilesProblem
from server.cli.option_groups import takes_options
from server.cli.output import one_line, print_json, working
from server.cli.tuning.workbench import WorkbenchOptions, open_local_workbench

if TYPE_CHECKING:
    from prompts_store.checkpoint_records import Checkpoint, ResolvedPrefix
    from server.app import Workbench


@dataclass(frozen=True, slots=True)
class Exported:
    """A written file, and the fields that a request to vLLM has."""

    path: Path
    digest: str
    num_virtual_tokens: int
    cache_salt: str
    kv_transfer_params: dict[str, Any]


@takes_options
def vllm_export(
    options: WorkbenchOptions,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="TASK[@VERSION]|DIR… OUT", help="Versions or folders, then a folder to write to."),
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write soft prompts as files that vLLM loads with the connector `softprompt_vllm`.

    SOURCE is a published version, or the folder of a PEFT checkpoint. Keys and values are computed by the base model in
    its dtype: choose with --dtype the one that vLLM serves in.
    """
    if len(sources) < 2:
        raise FilesProblem("name a version and a folder to write to, such as: vllm-export mood /srv/soft-prompts")
    *names, out = sources
    with open_local_workbench(options) as local:
        exported = [_export(local.bench, name, Path(out)) for name in names]
    if json:
        print_json([_as_json(one) for one in exported])
        return
    for name, one in zip(names, exported, strict=True):
        print(f"{one_line(name)} -> {one.path}")
        print(f"  put {one.num_virtual_tokens} placeholder ids before the text, and send with the request:")
        print(f"  {jsonlib.dumps({'cache_salt': one.cache_salt, 'kv_transfer_params': one.kv_transfer_params})}")


def _as_json(one: Exported) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "digest": one.digest,
        "num_virtual_tokens": one.num_virtual_tokens,
        "cache_salt": one.cache_salt,
        "kv_transfer_params": one.kv_transfer_params,
    }


def _export(bench: Workbench, name: str, folder: Path) -> Exported:
    """Write one soft prompt. Raises BaseUnreadable, FilesProblem and StoreError."""
    from prompts_store.checkpoint_records import BaseKind
    from server.model.errors import UnsupportedArchitecture
    from server.model.key_values import key_values_of
    from server.model.prefix import prefix_of
    from softprompt_vllm.claims import Claim, Purpose, salt_of
    from softprompt_vllm.prefix_file import write_key_values

    if bench.base.kind is not BaseKind.DECODER:
        raise BaseUnreadable(f"the base model is of the kind {bench.base.kind}: the connector serves decoders alone")
    checkpoint, resolved = _from_folder(bench, Path(name)) if Path(name).is_dir() else _from_store(bench, name)
    if checkpoint.task_type is not None and checkpoint.task_type.has_head:
        raise FilesProblem(f"{one_line(name)} is for {checkpoint.task_type}: the connector serves text alone")
    with working(f"Exporting {one_line(name)}"):
        prefix = prefix_of(resolved)
        try:
            layers = key_values_of(bench.loaded.model, prefix)
            folder.mkdir(parents=True, exist_ok=True)
            path = write_key_values(folder, prefix.digest, layers)
        except UnsupportedArchitecture as error:
            raise BaseUnreadable(str(error)) from error
        except OSError as error:
            raise FilesProblem(f"cannot write {folder}: {error.strerror}") from error
    claim = Claim(Purpose.USE, prefix.digest, prefix.num_virtual_tokens)
    salt = salt_of(claim.purpose, claim.digest)
    return Exported(path, prefix.digest, prefix.num_virtual_tokens, salt, claim.parameters)


def _from_store(bench: Workbench, name: str) -> tuple[Checkpoint, ResolvedPrefix]:
    """Return a published version. Raises NotFound, InvalidName and NoCheckpoint for an ensemble."""
    from prompts_store.names import TaskReference

    fingerprint = bench.base.fingerprint
    record = bench.store.resolve(fingerprint, TaskReference.parse(name))
    content = bench.store.load_content(fingerprint, record.task, record.version)
    return content.checkpoint, content.prefix


def _from_folder(bench: Workbench, folder: Path) -> tuple[Checkpoint, ResolvedPrefix]:
    """Return a PEFT checkpoint. Raises InvalidFolder and InvalidCheckpoint."""
    from prompts_store.checkpoint.folder import read_files, read_manifest
    from prompts_store.checkpoint.reader import read_checkpoint
    from prompts_store.manifest import parse_manifest

    given, max_tensor_bytes = read_manifest(folder), bench.store.max_tensor_bytes
    files = read_files(folder, max_tensor_bytes=max_tensor_bytes)
    checkpoint = read_checkpoint(
        files.config,
        files.tensors,
        bench.base,
        task_index=parse_manifest(given.fields).task_index,
        allow_base_mismatch=given.allow_base_mismatch,
        max_tensor_bytes=max_tensor_bytes,
        follow_links=True,
        left_out=files.left_out,
    )
    return checkpoint, checkpoint.prefix
