"""The fingerprint is of the weights that transformers loads, whatever else lies in the folder."""

from __future__ import annotations

import json
import shutil
from itertools import combinations

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from server.demo import BASE_DIR
from server.model import identity
from server.model.errors import BaseModelUnavailable
from server.tokenizer.tokenizer import Tokenizer
from tests.parity.architectures import build

VOCABULARY = {"a": 0, "b": 1, "c": 2}
CONFIG = {"model_type": "llama", "hidden_size": 4, "rope_parameters": {"rope_type": "default"}, "eos_token_id": 2}
NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def fingerprint(folder, tmp_path):
    return identity.fingerprint(str(folder), None, VOCABULARY, tmp_path / "cache")


def tensors():
    return {f"layer.{index}.weight": np.arange(6, dtype=np.float32).reshape(2, 3) + index for index in range(4)}


def write_index(folder, name, files):
    weight_map = {tensor: file for file, members in files.items() for tensor in members}
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def single_safetensors(folder):
    (folder / "model.safetensors").write_bytes(save(tensors()))


def sharded_safetensors(folder):
    every = tensors()
    files = {"a.safetensors": sorted(every)[:1], "b.safetensors": sorted(every)[1:]}
    for file, members in files.items():
        (folder / file).write_bytes(save({name: every[name] for name in members}))
    write_index(folder, "model.safetensors.index.json", files)


def single_bin(folder):
    (folder / "pytorch_model.bin").write_bytes(b"a pickle" * 100)


def sharded_bin(folder):
    for file in ("pytorch_model-1.bin", "pytorch_model-2.bin"):
        (folder / file).write_bytes(file.encode() * 100)
    write_index(folder, "pytorch_model.bin.index.json", {"pytorch_model-1.bin": ["x"], "pytorch_model-2.bin": ["y"]})


# Computed by commit 4b55c5e. Every stored task names one: none may ever change.
PINNED = {
    single_safetensors: "2ef953286bdd4c3ca371ab4c03ce58d18c393e422f8d171fc75c4c469bd5bb21",
    sharded_safetensors: "2ef953286bdd4c3ca371ab4c03ce58d18c393e422f8d171fc75c4c469bd5bb21",
    single_bin: "843dc29af8dc509745e8f148e3acb94b744bf216802b014e26e9afa04fd81f98",
    sharded_bin: "14ff93359a5435791f043d4ca6e421440a5a266d41c522524a0ee29cb7043981",
}


@pytest.mark.parametrize("write", PINNED, ids=lambda write: write.__name__)
def test_fingerprints_of_stored_tasks_stay(write, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write(tmp_path)
    assert fingerprint(tmp_path, tmp_path) == PINNED[write]


def test_the_demo_keeps_its_fingerprint(tmp_path):
    found = identity.fingerprint(str(BASE_DIR), None, Tokenizer.load(BASE_DIR).id_mapping, tmp_path)
    assert found == "ba71de88b9cac999d73f47d030c7bc98371923b74785d3e068bfe924746dfe2d"


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """One folder for each way to store weights, each with weights of its own; and a value that tells them apart."""
    folders = {}
    for value, name in enumerate(NAMES, 1):
        folder = tmp_path_factory.mktemp("variant")
        build("llama").save_pretrained(folder)
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"].fill_(value)
        (folder / "model.safetensors").unlink()
        file = name.removesuffix(".index.json") if name in NAMES[::2] else f"shard.{name.split('.')[1]}"
        write = torch.save if "bin" in name else save_file
        write(weights, folder / file)
        if file != name:
            write_index(folder, name, {file: weights})
        folders[name] = folder
    return folders


@pytest.mark.parametrize(
    "present", [some for count in range(1, 5) for some in combinations(NAMES, count)], ids=lambda some: "+".join(some)
)
def test_the_fingerprint_is_of_the_weights_that_are_loaded(present, variants, tmp_path):
    """Whatever is left beside them: what transformers loads alone decides."""
    for name in present:
        shutil.copytree(variants[name], tmp_path / "base", dirs_exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    loaded = NAMES[int(model.model.norm.weight[0]) - 1]
    assert fingerprint(tmp_path / "base", tmp_path) == fingerprint(variants[loaded], tmp_path)


def test_a_changed_weight_beside_a_stale_index_changes_the_fingerprint(variants, tmp_path):
    """Or another model's soft prompts would answer."""
    base = shutil.copytree(variants["pytorch_model.bin.index.json"], tmp_path / "base")
    weights = load_file(variants["model.safetensors"] / "model.safetensors")
    save_file(weights, base / "model.safetensors")
    before = fingerprint(base, tmp_path)
    weights["model.norm.weight"] += 1
    save_file(weights, base / "model.safetensors")
    assert fingerprint(base, tmp_path) != before


def test_weights_that_the_configuration_names_are_those_that_are_loaded(variants, tmp_path):
    """transformers follows `transformers_weights` before any name of its own."""
    base = shutil.copytree(variants["model.safetensors"], tmp_path / "base")
    named = base / "named.safetensors"
    shutil.copy(base / "model.safetensors", named)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"transformers_weights": "named.safetensors"}))
    before = fingerprint(base, tmp_path)
    weights = load_file(named)
    weights["model.norm.weight"] += 1
    save_file(weights, named)
    assert AutoModelForCausalLM.from_pretrained(base).model.norm.weight[0] == 2
    assert fingerprint(base, tmp_path) != before


def test_a_configuration_of_this_release_is_the_one_that_counts(variants, tmp_path):
    """transformers reads `config.5.0.0.json` where `config.json` lists it."""
    base = shutil.copytree(variants["model.safetensors"], tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"configuration_files": ["config.5.0.0.json"]}))
    (base / "config.5.0.0.json").write_text(json.dumps(config))
    before = fingerprint(base, tmp_path)
    (base / "config.5.0.0.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert AutoModelForCausalLM.from_pretrained(base).config.rms_norm_eps == 0.1
    assert fingerprint(base, tmp_path) != before


@pytest.mark.parametrize(
    "index",
    ["{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "missing"}}', "", "[" * 5000],
    ids=lambda index: index[:40],
)
def test_a_broken_index_is_said(index, variants, tmp_path):
    """Commands that never load weights meet it here first."""
    base = shutil.copytree(variants["model.safetensors.index.json"], tmp_path / "base")
    (base / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BaseModelUnavailable, match=r"files of .* cannot be read"):
        fingerprint(base, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (10).to_bytes(8, "little") + b'{"a":null}',
        (24).to_bytes(8, "little") + b'{"a":{"data_offsets":1}}',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_that_is_no_safetensors_is_said(content, variants, tmp_path):
    base = shutil.copytree(variants["model.safetensors"], tmp_path / "base")
    (base / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelUnavailable, match=r"files of .* cannot be read"):
        fingerprint(base, tmp_path)
