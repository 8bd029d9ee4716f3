"""Digests: what changes an answer changes them, nothing else does, and no release may change them."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from prompts_store.checkpoint.digests import content_digest, prefix_digest
from prompts_store.checkpoint.prefix import resolve_prefix
from prompts_store.checkpoint_records import Checkpoint, PeftType, StoredTensor, TensorKind
from prompts_store.manifest import parse_manifest
from tests.prompts_store.checkpoints import BASE, checkpoint

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
MANIFEST = {"template": "Say: {input}", "labels": ["ja", "nein"], "defaults": {"temperature": 0.5}}


def fixed_checkpoint(dtype: str = "F32", values: np.ndarray[Any, np.dtype[np.float32]] = VALUES) -> Checkpoint:
    tensor = StoredTensor("prompt_embeddings", dtype, values)
    return Checkpoint(PeftType.PROMPT_TUNING, len(values), {}, (tensor,))


def digest(stored: Checkpoint, manifest: dict[str, Any]) -> str:
    return content_digest(TensorKind.EMBEDDINGS, stored, parse_manifest(manifest))


def test_the_digests_of_a_fixed_version_never_change() -> None:
    """Stored digests are compared with recomputed ones: a change here makes every stored version corrupt."""
    assert (
        prefix_digest(TensorKind.EMBEDDINGS, VALUES)
        == "f8d97f627465881daee39c3b83ba584bf4029e929daf0953eca04aa12a85e3db"
    )
    assert (
        digest(fixed_checkpoint("BF16"), MANIFEST) == "db2f00dd8de9caea7e780c96fd04427b60476d10cf93659fe8d4a88b40a401bd"
    )


def test_the_prefix_digest_is_of_the_bytes_that_the_docstring_says() -> None:
    data = b"softprompt.prefix.v1\0embeddings\0" + struct.pack("<QQQ", 2, 2, 3) + struct.pack("<6f", *range(6))
    assert prefix_digest(TensorKind.EMBEDDINGS, VALUES) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        {"template": "Say {input}"},
        {"labels": ["nein", "ja"]},
        {"stop": ["\n"]},
        {"add_special_tokens": False},
        {"defaults": {"temperature": 0.25}},
    ],
)
def test_what_changes_an_answer_changes_the_content_digest(changed: dict[str, Any]) -> None:
    assert digest(fixed_checkpoint(), MANIFEST | changed) != digest(fixed_checkpoint(), MANIFEST)


def test_dtype_values_and_shape_change_the_content_digest() -> None:
    variants = [
        fixed_checkpoint(),
        fixed_checkpoint("F16"),
        fixed_checkpoint("BF16"),
        fixed_checkpoint(values=-VALUES),
        fixed_checkpoint(values=VALUES.reshape(3, 2)),
    ]
    assert len({digest(variant, MANIFEST) for variant in variants}) == len(variants)


def test_metrics_note_and_prompt_type_change_no_digest() -> None:
    assert digest(fixed_checkpoint(), MANIFEST | {"metrics": {"accuracy": 1}, "note": "x"}) == digest(
        fixed_checkpoint(), MANIFEST
    )
    p_tuning = replace(fixed_checkpoint(), peft_type=PeftType.P_TUNING)
    assert digest(p_tuning, MANIFEST) == digest(fixed_checkpoint(), MANIFEST)


def test_keys_and_values_never_share_a_digest_with_embeddings() -> None:
    kinds = (TensorKind.EMBEDDINGS, TensorKind.KEY_VALUES)
    assert len({prefix_digest(kind, VALUES) for kind in kinds}) == 2
    assert len({content_digest(kind, fixed_checkpoint(), parse_manifest(MANIFEST)) for kind in kinds}) == 2


def test_the_prefix_digest_sees_the_sign_of_zero_and_the_shape() -> None:
    zeros = np.zeros((2, 3), np.float32)
    variants = [zeros, -zeros, zeros.reshape(3, 2), zeros.reshape(2, 3, 1)]
    assert len({prefix_digest(TensorKind.EMBEDDINGS, variant) for variant in variants}) == 4


def test_versions_that_differ_in_dtype_only_share_their_prefix() -> None:
    first, second = (resolve_prefix(checkpoint(kind), None, BASE) for kind in (PeftType.PROMPT_TUNING, PeftType.CPT))
    assert first.digest == second.digest
