"""The fingerprint: what changes answers changes it, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from server.model import identity
from server.model.errors import BaseModelUnavailable
from tests.parity.architectures import build

VOCABULARY = {"a": 0, "b": 1, "c": 2}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity") / "base"
    build("llama").save_pretrained(str(folder))
    return folder


@pytest.fixture
def base(original, tmp_path):
    return shutil.copytree(original, tmp_path / "somewhere-else")


def fingerprint(folder, tmp_path, vocabulary=None):
    return identity.fingerprint(str(folder), None, VOCABULARY if vocabulary is None else vocabulary, tmp_path / "cache")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_path_serving_dtype_and_chat_template_do_not_matter(original, base, tmp_path):
    """The same model under another path, with another dtype key, special token ids and a chat template."""
    edit_config(base, dtype="bfloat16", transformers_version="0", eos_token_id=3, _name_or_path="elsewhere")
    (base / "chat_template.jinja").write_text("{{ messages }}")
    assert fingerprint(base, tmp_path) == fingerprint(original, tmp_path)


def test_sharding_does_not_matter(original, base, tmp_path):
    """The same tensors in two files and an index."""
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"one.safetensors": names[:5], "two.safetensors": names[5:]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, base / file)
    weight_map = {name: file for file, members in shards.items() for name in members}
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert fingerprint(base, tmp_path) == fingerprint(original, tmp_path)


def test_one_changed_weight_matters(original, base, tmp_path):
    tensors = load_file(base / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, base / "model.safetensors")
    assert fingerprint(base, tmp_path) != fingerprint(original, tmp_path)


def test_a_weight_by_another_name_matters(original, base, tmp_path):
    tensors = load_file(base / "model.safetensors")
    first, second = sorted(name for name in tensors if name.endswith("k_proj.weight"))
    tensors[first], tensors[second] = tensors[second].clone(), tensors[first].clone()
    save_file(tensors, base / "model.safetensors")
    assert fingerprint(base, tmp_path) != fingerprint(original, tmp_path)


def test_a_configuration_that_changes_outputs_matters(original, base, tmp_path):
    edit_config(base, rms_norm_eps=1e-4)
    assert fingerprint(base, tmp_path) != fingerprint(original, tmp_path)


def test_a_nested_number_of_the_configuration_matters(original, base, tmp_path):
    edit_config(base, rope_parameters={"rope_type": "default", "rope_theta": 20000.0})
    assert fingerprint(base, tmp_path) != fingerprint(original, tmp_path)


def test_a_swapped_token_id_matters(original, tmp_path):
    assert fingerprint(original, tmp_path, {"a": 1, "b": 0, "c": 2}) != fingerprint(original, tmp_path)


def test_weights_are_hashed_once(base, tmp_path, monkeypatch):
    """The second start reads no weights; a changed file is read again."""
    first = fingerprint(base, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(identity, "_weights_digest", lambda *_: pytest.fail("the weights were read again"))
        assert fingerprint(base, tmp_path) == first
    tensors = load_file(base / "model.safetensors")
    save_file({name: torch.zeros_like(tensor) for name, tensor in tensors.items()}, base / "model.safetensors")
    os.utime(base / "model.safetensors", ns=(1, 1))
    assert fingerprint(base, tmp_path) != first


@pytest.mark.parametrize(
    "content", [b"", b"half", b"z" * 64, b"\xff" * 64, b"0" * 65], ids=lambda content: repr(content[:5])
)
def test_a_broken_cache_entry_is_no_answer(base, tmp_path, content):
    """What is no digest is computed again."""
    first = fingerprint(base, tmp_path)
    (entry,) = (tmp_path / "cache" / "weights").iterdir()
    entry.write_bytes(content)
    assert fingerprint(base, tmp_path) == first


def test_a_cache_that_cannot_be_written_costs_time_only(base, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert fingerprint(base, tmp_path) == fingerprint(base, tmp_path / "other")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_missing_files_are_said(base, tmp_path, missing):
    (base / missing).unlink()
    with pytest.raises(BaseModelUnavailable):
        fingerprint(base, tmp_path)


def test_truncated_weights_are_said(base, tmp_path):
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(BaseModelUnavailable):
        fingerprint(base, tmp_path)
