"""A version as the two files of a PEFT checkpoint again. The same version gives the same bytes."""

from __future__ import annotations

import json

from prompts_store.checkpoint import safetensors_format
from prompts_store.checkpoint_records import Checkpoint
from prompts_store.records import VersionContent


def write_config(content: VersionContent) -> bytes:
    """Return `adapter_config.json`: the uploaded one, laid out as PEFT does."""
    return json.dumps(dict(content.checkpoint.config), indent=2, sort_keys=True).encode()


def write_tensors(checkpoint: Checkpoint) -> bytes:
    """Return `adapter_model.safetensors`: every tensor byte for byte as it came, in its original dtype."""
    return safetensors_format.write_tensors(checkpoint.tensors)
