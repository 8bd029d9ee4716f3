"""The prefix digest, of the prefix that the model sees, and the content digest, of a version. Both are SHA-256 in
lowercase hexadecimal.

Prefix digest, of the bytes

    "softprompt.prefix.v1" NUL, kind in ASCII, NUL, number of dimensions, each dimension, values

Content digest, of the bytes

    "softprompt.content.v1" NUL, length of the header, header, values of each tensor by name

Content digest of an ensemble, of the bytes

    "softprompt.ensemble.v1" NUL, header

Numbers are unsigned 64-bit little-endian; values are float32 little-endian in C order. The header is canonical JSON
(sorted keys, no white space, ASCII): kind, the tensors' name, dtype and shape by name, and the manifest's content;
of an ensemble, the members' content digests in their order and the manifest's content. The PEFT type beyond the kind is
no part of it: it changes no answer. The task type is, where it has a head, and so is the number of submodules, where it
is not 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint_records import Checkpoint, TensorKind
from prompts_store.manifest import Manifest, content_fields
from prompts_store.strict_json import canonical


def prefix_digest(kind: TensorKind, values: NDArray[np.float32]) -> str:
    """Return the digest by which residency and the prefix cache are keyed."""
    digest = hashlib.sha256(b"softprompt.prefix.v1\0" + kind.encode() + b"\0")
    digest.update(np.array([values.ndim, *values.shape], "<u8").tobytes())
    digest.update(canonical_bytes(values))
    return digest.hexdigest()


def content_digest(kind: TensorKind, checkpoint: Checkpoint, manifest: Manifest) -> str:
    """Return the digest that identifies a version. It covers everything that changes an answer, and nothing else."""
    tensors = sorted(checkpoint.tensors, key=lambda tensor: tensor.name)
    header = canonical(
        {
            "kind": kind,
            "tensors": [[tensor.name, tensor.original_dtype, list(tensor.values.shape)] for tensor in tensors],
            "manifest": content_fields(manifest),
            **_use(checkpoint),
        }
    ).encode()
    digest = hashlib.sha256(b"softprompt.content.v1\0" + np.uint64(len(header)).astype("<u8").tobytes() + header)
    for tensor in tensors:
        digest.update(canonical_bytes(tensor.values))
    return digest.hexdigest()


def _use(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the same tensors can be used for in another way; nothing for causal language models."""
    fields: dict[str, Any] = {}
    if checkpoint.task_type is not None and checkpoint.task_type.has_head:
        fields["task_type"] = checkpoint.task_type
    if checkpoint.num_submodules != 1:
        fields["num_submodules"] = checkpoint.num_submodules
    return fields


def ensemble_digest(members: Sequence[str], manifest: Manifest) -> str:
    """Return the content digest of an ensemble, of the content digests of its members in their order."""
    header = canonical({"members": list(members), "manifest": content_fields(manifest)}).encode()
    return hashlib.sha256(b"softprompt.ensemble.v1\0" + header).hexdigest()


def canonical_bytes(values: NDArray[np.float32]) -> bytes:
    """Return the values as float32 little-endian in C order, which is the stored and digested form."""
    return values.astype("<f4", copy=False).tobytes(order="C")
