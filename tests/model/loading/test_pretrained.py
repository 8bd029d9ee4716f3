"""Loaded weights are those that transformers loads, bit for bit, and few of them are in memory twice."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig, GptOssConfig, Qwen3Config

from server.model import identity
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model, load_config
from server.model.errors import BaseModelUnavailable
from server.model.loading import stored_weights
from server.model.loading.pretrained import load_pretrained
from server.model.loading.progress import LoggedProgress
from server.model.self_proof import prove
from tests.model.test_mapped_weights import linux_only, resident_bytes
from tests.parity.architectures import build

INDEX = "model.safetensors.index.json"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# One of each way to name and convert tensors: plain, transposed with a prefix, tied, merged experts.
MODELS = ("llama", "gpt2", "gemma", "mixtral")


def loaded(folder, dtype):
    """Our model and report, before anything is packed."""
    config = load_config(BaseModelOptions(str(folder)))
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    return load_pretrained(skeleton, str(folder), None, config, dtype=dtype, attention="eager")


def assert_same_as_transformers(folder, dtype):
    model, report = loaded(folder, dtype)
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    ours, theirs = dict(model.state_dict()), dict(expected.state_dict())
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name
    assert len(list(model.parameters())) == len(list(expected.parameters()))  # tied ones count once
    assert model.generation_config.to_dict() == expected.generation_config.to_dict()
    return model


def to_pickle(folder, *, old):
    """Turn a folder's weights into the one pickle of old releases."""
    weights = {}
    for file in folder.glob("*.safetensors"):
        weights |= load_file(file)
        file.unlink()
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders by architecture and stored dtype, saved when they are first asked for: float32 in parts, half in one."""

    @cache
    def save(name, dtype):
        folder = tmp_path_factory.mktemp(f"{name}-{dtype}")
        model = build(name).to(DTYPES[dtype])
        model.generation_config = GenerationConfig(temperature=0.5, do_sample=True, eos_token_id=[1, 2])
        model.save_pretrained(folder, max_shard_size="20KB" if dtype == "float32" else "1GB")
        return folder

    return save


CASES = [("llama", stored, served) for stored in DTYPES for served in DTYPES]
CASES += [(name, *dtypes) for name in MODELS[1:] for dtypes in (("float32", "float32"), ("bfloat16", "float32"))]
CASES += [("mixtral", "float32", "bfloat16")]


@pytest.mark.parametrize(("name", "stored", "served"), CASES)
def test_weights_are_transformers_own(models, name, stored, served):
    """Every stored dtype as every serving dtype, in one file and in parts."""
    assert_same_as_transformers(models(name, stored), DTYPES[served])


def test_reading_in_pieces_changes_nothing(models, monkeypatch):
    """A tensor longer than one read."""
    monkeypatch.setattr(stored_weights, "_READ_BYTES", 64)
    for stored, served in (("bfloat16", "float32"), ("float32", "bfloat16")):
        assert_same_as_transformers(models("mixtral", stored), DTYPES[served])


@linux_only
@pytest.mark.parametrize(("stored", "served"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_a_file_of_another_dtype_is_read_and_not_mapped(models, stored, served):
    """Its pages would stay beside the converted weights."""
    folder = models("llama", stored)
    model, _ = loaded(folder, DTYPES[served])
    assert model.dtype == DTYPES[served]
    for file in folder.glob("*.safetensors"):
        assert resident_bytes(file) == 0


@linux_only
def test_a_file_of_the_serving_dtype_is_mapped(models):
    """Its pages are shared by all servers on the machine."""
    model, _ = loaded(models("llama", "float32"), torch.float32)
    assert sum(parameter.sum() for parameter in model.parameters()).isfinite()
    assert sum(resident_bytes(file) for file in models("llama", "float32").glob("*.safetensors")) > 0


def is_mapped(address):
    """Whether an address belongs to this process."""
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(low, 16) <= address < int(high, 16) for low, high in ranges)


@linux_only
@pytest.mark.parametrize(("served", "is_returned"), [("bfloat16", True), ("float32", False)])
def test_the_memory_of_a_tensor_that_is_narrowed_is_returned(served, is_returned, tmp_path):
    """Freed in the heap, half a gigabyte of a float32 model of one gigabyte in bfloat16 stayed resident."""
    file = tmp_path / "model.safetensors"
    save_file({"wide": torch.ones(600_000)}, file)
    torch.empty(30 << 20, dtype=torch.uint8)  # glibc's heap takes what is smaller from now on
    with stored_weights.stored_weights([file], DTYPES[served], {"wide"}, LoggedProgress("", 1)) as weights:
        tensor = weights["wide"][...]
        address = tensor.data_ptr()
        assert bool((tensor == 1).all()) and is_mapped(address)
        del tensor
        assert not is_returned or not is_mapped(address)


def test_progress_counts_every_stored_byte(models, monkeypatch):
    """Mapped tensors and converted ones."""
    counted = []
    monkeypatch.setattr(LoggedProgress, "__call__", lambda self, num_bytes: counted.append(num_bytes))
    monkeypatch.setattr("server.model.loading.progress.is_progress_bar_enabled", lambda: False)
    loaded(models("mixtral", "float32"), torch.float32)
    weights = [
        tensor for file in models("mixtral", "float32").glob("*.safetensors") for tensor in load_file(file).values()
    ]
    assert sum(counted) == sum(tensor.nbytes for tensor in weights)


# --- files that are not whole -----------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    """A model in five parts, by whose second one the cases go."""
    folder = tmp_path / "base"
    build("llama").save_pretrained(folder, max_shard_size="20KB")
    return folder


def second(folder):
    return sorted(folder.glob("*.safetensors"))[1]


def cut(folder):
    second(folder).write_bytes(second(folder).read_bytes()[:-100])


def cut_in_the_header(folder):
    second(folder).write_bytes(second(folder).read_bytes()[:50])


def lengthen(folder):
    second(folder).write_bytes(second(folder).read_bytes() + b"x")


def leave_a_pointer(folder):
    second(folder).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")


def rename_in_the_index(name):
    def change(folder):
        index = json.loads((folder / INDEX).read_text())
        first = next(iter(index["weight_map"]))
        index["weight_map"][first] = name
        (folder / INDEX).write_text(json.dumps(index))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: second(folder).unlink(), "names 'model-00002-of-00005.safetensors', which is missing"),
        (cut, "model-00002-of-00005.safetensors has .* its header says"),
        (cut_in_the_header, "model-00002-of-00005.safetensors has 50 bytes, and no whole header"),
        (lengthen, "model-00002-of-00005.safetensors has .* its header says"),
        (leave_a_pointer, "model-00002-of-00005.safetensors is a pointer of Git LFS"),
        (rename_in_the_index("../other/model.safetensors"), "which is not in the folder of the index"),
        (rename_in_the_index("/etc/passwd"), "'/etc/passwd', which is not in the folder of the index"),
        (lambda folder: (folder / INDEX).write_text("{"), "index.json is no JSON"),
        (lambda folder: (folder / INDEX).write_text('{"weight_map": [1]}'), "maps no tensors to files"),
        (lambda folder: (folder / INDEX).unlink(), "there are no weights: none of model.safetensors, "),
    ],
)
def test_a_file_that_is_missing_or_not_whole_is_named(shards, tmp_path, change, said):
    """By the server before it reads a weight, and by a command that reads the fingerprint alone."""
    change(shards)
    with pytest.raises(BaseModelUnavailable, match=said):
        load_base_model(BaseModelOptions(str(shards), device="cpu"))
    with pytest.raises(BaseModelUnavailable, match=said):
        identity.fingerprint(str(shards), None, {"a": 0}, tmp_path / "cache")


def reshape(folder, name):
    """Cut the last row of one tensor off; every file is whole."""
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        if name in weights:
            save_file(weights | {name: weights[name][:-1].contiguous()}, file, {"format": "pt"})


@pytest.mark.parametrize("kind", ["shards", "pickle"])
def test_a_tensor_of_another_shape_is_named(shards, kind):
    """With both shapes: the configuration and the weights are of two models."""
    reshape(shards, "model.norm.weight")
    if kind == "pickle":
        to_pickle(shards, old=False)
        (shards / INDEX).unlink()
    said = r"hold 1 tensor in another shape than the configured model's, model.norm.weight \(\[31\], not \[32\]\)"
    with pytest.raises(BaseModelUnavailable, match=said):
        load_base_model(BaseModelOptions(str(shards), device="cpu"))


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_of_tensors_is_loaded(shards, old):
    """Either format of `pytorch_model.bin`, with the numbers of the safetensors files."""
    expected = loaded(shards, torch.float32)[0].state_dict()
    (shards / INDEX).unlink()
    to_pickle(shards, old=old)
    for name, tensor in loaded(shards, torch.float32)[0].state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_a_pickle_that_cannot_be_read_is_named(shards):
    """One with code, without PyTorch's advice to run it, and one that has lost its end."""
    (shards / INDEX).unlink()
    to_pickle(shards, old=False)
    file = shards / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BaseModelUnavailable, match=r"pytorch_model.bin is not whole"):
        load_base_model(BaseModelOptions(str(shards), device="cpu"))
    torch.save({"model.norm.weight": os.system}, file)
    with pytest.raises(BaseModelUnavailable, match=r"pytorch_model.bin .* code in it is never run") as refusal:
        load_base_model(BaseModelOptions(str(shards), device="cpu"))
    assert "weights_only" not in str(refusal.value)


# --- quantised weights that are dequantised ---------------------------------------------------------------------------


def quantise_to_fp8(folder, block=128):
    """Rewrite the projections as 8-bit floating-point numbers with one scale per block; return what they mean."""
    weights, stored, meant = load_file(folder / "model.safetensors"), {}, {}
    for name, weight in weights.items():
        stored[name] = weight
        if "_proj" in name:
            scale = torch.rand(-(-weight.shape[0] // block), -(-weight.shape[1] // block)) / 448
            every = scale.repeat_interleave(block, 0).repeat_interleave(block, 1)[: weight.shape[0], : weight.shape[1]]
            stored[name] = (weight / every).clamp(-448, 448).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale
            meant[name] = stored[name].float() * every
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    set_quantization(folder, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [block] * 2})
    return meant


def set_quantization(folder, quantization):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))


@pytest.fixture
def qwen3(tmp_path):
    """A model whose projections have more than one block, in bfloat16: its folder, and its tensors."""
    config = Qwen3Config(
        vocab_size=61,
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=96,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    return tmp_path, model.state_dict()


@pytest.mark.parametrize("served", ["float32", "bfloat16"])
def test_fp8_weights_are_dequantised(qwen3, served):
    """Number times scale, in float32, then rounded to the serving dtype; the other weights are as stored."""
    folder, expected = qwen3
    expected = expected | quantise_to_fp8(folder)
    model, _ = loaded(folder, DTYPES[served])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name].to(DTYPES[served])), name


def test_dequantised_weights_are_served(qwen3):
    """Packed, proved, and without a trace of quantisation in the configuration that twins are made from."""
    folder, _ = qwen3
    quantise_to_fp8(folder)
    model = load_base_model(BaseModelOptions(str(folder), device="cpu"))
    assert getattr(model.model.config, "quantization_config", None) is None
    assert prove(model, choose_backend(model.device)).disagreement < 1e-4


def test_a_scale_that_is_missing_is_said(qwen3):
    """Numbers without their scale mean nothing."""
    folder, _ = qwen3
    quantise_to_fp8(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight_scale_inv"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelUnavailable, match=r"up_proj.weight is stored as .*float8_e4m3fn without the scale"):
        load_base_model(BaseModelOptions(str(folder), device="cpu"))


def test_mxfp4_weights_are_dequantised(tmp_path):
    """As transformers does it: the experts of gpt-oss, two numbers per byte with a scale per 32."""
    config = GptOssConfig(
        vocab_size=61,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        num_experts, num_in, num_out = weights.pop(name).shape
        shape = (num_experts, num_out, num_in // 32)
        weights[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
        weights[f"{name}_scales"] = torch.randint(118, 124, shape, dtype=torch.uint8)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    set_quantization(tmp_path, {"quant_method": "mxfp4"})
    assert_same_as_transformers(tmp_path, torch.float32)
