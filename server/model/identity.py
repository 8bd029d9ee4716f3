"""The fingerprint of a base model: a digest of everything that changes its answers.

The fingerprint covers the stored weights (tensor by tensor, so that sharding does not matter), the configuration that
changes outputs, and the tokenizer's id mapping; not the path, the serving dtype or the chat template. A GGUF file's
configuration is the metadata of its architecture. Hashing weights reads every byte once; the result is remembered
under the files' identity (path, size, modification time, inode).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from server.model.errors import BaseModelUnavailable
from server.model.foreign import reason
from server.model.gguf.base_file import SUFFIX, architecture_metadata, is_gguf, read_base_file
from server.model.gguf.header import read_header
from server.model.loading.progress import Progress, showing_progress
from server.model.loading.stored_ranges import read_ranges
from server.model.model_files import read_config, weight_files

_DOMAIN = b"softprompt base model 1\n"
# Keys of config.json that no logit depends on.
_NEUTRAL_KEYS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "id2label",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "return_dict",
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
_READ_BYTES = 8 << 20
_DIGEST = re.compile("[0-9a-f]{64}")


def fingerprint(source: str, revision: str | None, id_mapping: Mapping[str, int], cache_dir: Path) -> str:
    """The base model's fingerprint, 64 hexadecimal digits.

    `id_mapping` is the tokenizer's token -> id table. Raises `BaseModelUnavailable`
    where the files cannot be found or read.
    """
    digest = hashlib.sha256(_DOMAIN)
    try:
        config, files = _config_and_files(source, revision)
        digest.update(_cached_weights_digest(files, cache_dir).encode())
    except (OSError, ValueError) as error:
        raise BaseModelUnavailable(f"the files of {source!r} cannot be read: {reason(error)}") from error
    digest.update(_canonical(_without_neutral(config)))
    digest.update(_canonical(sorted(id_mapping.items(), key=itemgetter(1, 0))))
    return digest.hexdigest()


def _config_and_files(source: str, revision: str | None) -> tuple[Mapping[str, Any], list[Path]]:
    if is_gguf(source):
        return architecture_metadata(read_base_file(source)), [Path(source).expanduser()]
    config = read_config(source, revision)
    return config, weight_files(source, revision, config)


def _without_neutral(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_neutral(item) for key, item in value.items() if key not in _NEUTRAL_KEYS}
    return value


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _cached_weights_digest(files: list[Path], cache_dir: Path) -> str:
    identity = json.dumps([_file_identity(file) for file in files])
    key = hashlib.sha256(identity.encode()).hexdigest()
    entry = cache_dir / "weights" / key
    try:
        remembered = entry.read_text(encoding="ascii")
        if _DIGEST.fullmatch(remembered):
            return remembered
    except (OSError, UnicodeDecodeError):
        pass
    with showing_progress("fingerprinting weights", sum(file.stat().st_size for file in files)) as progress:
        computed = _weights_digest(files, progress)
    _remember(entry, computed)
    return computed


def _file_identity(file: Path) -> list[Any]:
    stat = file.stat()
    return [str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _remember(entry: Path, text: str) -> None:
    """Write whole or not at all; a cache that cannot be written costs time only."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=entry.parent)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(temporary, entry)
    except OSError:
        return


def _weights_digest(files: list[Path], progress: Progress) -> str:
    tensors: dict[str, str] = {}
    for file in files:
        if file.suffix == ".safetensors":
            tensors.update(_tensor_digests(file, progress))
        elif file.suffix.lower() == SUFFIX:
            tensors.update(_gguf_tensor_digests(file, progress))
        else:
            tensors[file.name] = _digest_range(file, 0, file.stat().st_size, progress)
    return hashlib.sha256(_canonical(sorted(tensors.items()))).hexdigest()


def _tensor_digests(file: Path, progress: Progress) -> Iterable[tuple[str, str]]:
    """Name, dtype and shape with the bytes' digest of each tensor."""
    for stored in read_ranges(file):
        digest = _digest_range(file, stored.begin, stored.end - stored.begin, progress)
        yield stored.name, f"{stored.dtype} {list(stored.shape)} {digest}"


def _gguf_tensor_digests(file: Path, progress: Progress) -> Iterable[tuple[str, str]]:
    """Name, type and shape with the bytes' digest of each tensor of a GGUF file."""
    for tensor in read_header(file).tensors:
        digest = _digest_range(file, tensor.begin, tensor.end - tensor.begin, progress)
        yield tensor.name, f"{tensor.type.name} {list(tensor.shape)} {digest}"


def _digest_range(file: Path, offset: int, length: int, progress: Progress) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(offset)
        while length:
            part = stream.read(min(length, _READ_BYTES))
            if not part:
                raise ValueError(f"{file.name} is shorter than its header says")
            digest.update(part)
            progress(len(part))
            length -= len(part)
    return digest.hexdigest()
