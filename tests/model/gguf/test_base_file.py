"""A GGUF file as a base model: transformers' own dequantised model is served, and what it cannot be is refused."""

from __future__ import annotations

import importlib.util
import json
import os

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from server.base_model_source import find_origin, load_base, read_base_model
from server.engine.events import TokenEvent
from server.engine.paged.engine import Engine
from server.engine.paged.options import EngineOptions
from server.engine.request import Generate, Request, SamplingParams
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, choose_dtype, load_base_model, load_config, load_skeleton
from server.model.errors import BaseModelUnavailable, ModelError, UnsupportedArchitecture
from server.model.gguf.base_file import transformers_source
from server.model.identity import fingerprint
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner
from server.settings import ServeSettings
from tests.fakes.gguf_files import LAYERS, METADATA, TOKENS, weights, write_gguf

PROMPTS = ([3, 70, 262], [5] * 11, [260, 9, 8, 7, 100])
NUM_NEW = 16
BYTES = {"a": 0}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf")


def options_of(source, **more):
    return BaseModelOptions(str(source), device="cpu", **more)


def settings_of(source, tmp_path, **more):
    return ServeSettings(base_model=str(source), data_dir=tmp_path / "data", device="cpu", insecure=True, **more)


def stock(source, dtype=torch.float32):
    with transformers_source(str(source)) as (folder, gguf):
        return AutoModelForCausalLM.from_pretrained(folder, **gguf, dtype=dtype)


def served(loaded, prompts):
    """Greedy tokens of all prompts, answered in one batch."""
    options = EngineOptions(
        num_blocks=41,
        block_size=4,
        max_prefix_blocks=8,
        max_num_seqs=6,
        max_batch_tokens=9,
        max_open_requests=10,
        max_context=64,
        vocab_size=len(TOKENS),
        eos_token_ids=frozenset(),
    )
    cache = KVCache(loaded.architecture.layers, 41, 4, loaded.dtype, loaded.device)
    engine = Engine(ModelRunner(loaded, cache, choose_backend(loaded.device)), options)
    sampling = SamplingParams(temperature=0.0, max_tokens=NUM_NEW)
    answers = [[] for _ in prompts]
    for at, prompt in enumerate(prompts):
        engine.add(Request(str(at), "", tuple(prompt), Generate(sampling), None), answers[at].append)
    while engine.has_work:
        engine.step()
    return [[event.token_id for event in events if isinstance(event, TokenEvent)] for events in answers]


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1, GGMLQuantizationType.F16])
def test_the_model_that_transformers_dequantises_is_served(kind, tmp_path):
    """The self-proof passes, and greedy tokens are those of transformers' own model."""
    file = write_gguf(tmp_path / "tiny.gguf", kind=kind)
    loaded = load_base(settings_of(file, tmp_path), find_origin(settings_of(file, tmp_path))).model
    oracle = stock(file)
    expected = [
        oracle.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=NUM_NEW, min_new_tokens=NUM_NEW)
        for prompt in PROMPTS
    ]
    assert served(loaded, PROMPTS) == [
        ids[0, len(prompt) :].tolist() for ids, prompt in zip(expected, PROMPTS, strict=True)
    ]


def test_an_output_layer_of_its_own_is_read(tmp_path):
    """Where the file has one, the embeddings are not used in its place."""
    tensors = weights() | {"output.weight": weights(seed=1)["token_embd.weight"]}
    loaded = load_base_model(options_of(write_gguf(tmp_path / "tiny.gguf", tensors=tensors)))
    assert not torch.equal(loaded.model.get_output_embeddings().weight, loaded.model.get_input_embeddings().weight)


def test_half_precision_is_served_too(file, tmp_path):
    """The weights are dequantised, then rounded to the dtype, as transformers does it."""
    loaded = load_base_model(options_of(file, dtype="bfloat16"))
    theirs = stock(file, torch.bfloat16).state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        if name in theirs:
            assert torch.equal(tensor, theirs[name])


def test_what_the_files_alone_say_is_what_is_served(file, tmp_path):
    """Publishing reads no weights; a relative path, another folder and another name change nothing."""
    settings = settings_of(file, tmp_path)
    base = load_base(settings, find_origin(settings)).base
    assert read_base_model(settings) == base
    assert base.names[0] == "Tiny-Model-v1"
    assert (base.num_layers, base.max_context) == (LAYERS, METADATA["llama.context_length"])
    assert load_skeleton(options_of(file)) == load_base_model(options_of(file)).architecture


def test_a_relative_path_is_the_file_it_names(file, tmp_path, monkeypatch):
    """transformers looks for the name in the current folder too, where another file may stand."""
    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "base.gguf"
    copy.write_bytes(file.read_bytes())
    write_gguf(tmp_path / "base.gguf", tensors=weights(seed=1))
    monkeypatch.chdir(tmp_path)
    expected = load_base_model(options_of(copy)).model.get_input_embeddings().weight
    for source in ("sub/base.gguf", "./sub/base.gguf", copy):
        assert torch.equal(load_base_model(options_of(source)).model.get_input_embeddings().weight, expected)


def test_files_beside_it_change_nothing(file, tmp_path):
    """transformers would put an adapter into the weights, and believe another configuration."""
    copy = tmp_path / "base.gguf"
    copy.write_bytes(file.read_bytes())
    LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]).save_pretrained(tmp_path)
    for name in ("config", "tokenizer_config", "generation_config"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 77}))
    assert served(load_base_model(options_of(copy)), PROMPTS) == served(load_base_model(options_of(file)), PROMPTS)
    assert read_base_model(settings_of(copy, tmp_path)).fingerprint == (
        read_base_model(settings_of(file, tmp_path)).fingerprint
    )


def test_every_end_token_of_the_file_ends(file, tmp_path):
    """The end of a turn too, which transformers does not read; without any it is transformers' own default."""
    assert load_base_model(options_of(file)).eos_token_ids == {1, 2}
    one = write_gguf(tmp_path / "one.gguf", {"tokenizer.ggml.eot_token_id": None})
    assert load_base_model(options_of(one)).eos_token_ids == {1}


@pytest.mark.parametrize(
    ("kind", "dtype"), [("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16"), ("Q8_0", "float32")]
)
def test_on_a_gpu_the_dtype_is_the_stored_one(kind, dtype, tmp_path):
    """What is quantised has none: it is float32, unless settings say otherwise."""
    file = write_gguf(tmp_path / "tiny.gguf", kind=GGMLQuantizationType[kind])
    config = load_config(options_of(file))
    assert choose_dtype("auto", config, torch.device("cuda")) == getattr(torch, dtype)
    assert choose_dtype("auto", config, torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(
    ("named", "base_id"),
    [
        ("SmolLM2 135M / Instruct", "SmolLM2-135M-Instruct"),
        ("a" * 500, "a" * 96),
        ("..\n", "tiny.Q8_0"),
        ("", "tiny.Q8_0"),
        (None, "tiny.Q8_0"),
    ],
)
def test_the_name_in_the_file_becomes_the_base_models_id(named, base_id, tmp_path):
    """As a model id; the file's name stands in where there is none."""
    file = write_gguf(tmp_path / "tiny.Q8_0.gguf", {"general.name": named})
    origin = find_origin(settings_of(file, tmp_path))
    assert (origin.base_id, origin.names) == (base_id, (base_id, str(file)))


def test_other_names_are_added(file, tmp_path):
    """The first of them is the base model's id, as for a folder."""
    origin = find_origin(settings_of(file, tmp_path, base_names=("org/mine", "other")))
    assert origin.base_id == "org/mine"
    assert origin.names == ("org/mine", "other", "Tiny-Model-v1", str(file))


def test_the_fingerprint_is_of_weights_and_metadata(file, tmp_path):
    """Not of the file's name, the model's name or the chat template."""

    def of(name, *args, **kwargs):
        return fingerprint(str(write_gguf(tmp_path / name, *args, **kwargs)), None, BYTES, tmp_path / "cache")

    first = fingerprint(str(file), None, BYTES, tmp_path / "cache")
    assert of("b.gguf", {"general.name": "other", "tokenizer.chat_template": "other"}) == first
    changed = dict(weights())
    changed["blk.0.ffn_down.weight"] = changed["blk.0.ffn_down.weight"] + np.float32(0.1)
    assert of("c.gguf", tensors=changed) != first
    assert of("d.gguf", {"llama.rope.freq_base": 5000.0}) != first
    assert of("e.gguf", kind=GGMLQuantizationType.Q4_1) != first
    assert fingerprint(str(file), None, BYTES | {"b": 1}, tmp_path / "cache") != first


def test_a_file_that_is_not_there_is_said(tmp_path):
    """By a path of any form; one of the hub has to be downloaded."""
    for source in (str(tmp_path / "no.gguf"), "./no.gguf", "no.gguf", "org/repo/no.gguf"):
        with pytest.raises(BaseModelUnavailable, match=r"there is no file '.*no\.gguf': .*download"):
            find_origin(settings_of(source, tmp_path))


def test_a_folder_that_only_holds_the_file_is_said(file):
    """The file itself is what to name."""
    with pytest.raises(BaseModelUnavailable, match=r"name the file itself, '.*tiny\.Q8_0\.gguf'"):
        load_base_model(options_of(file.parent))


def test_a_missing_package_is_said_by_its_extra(file, monkeypatch):
    """Before transformers says it at length."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    with pytest.raises(BaseModelUnavailable, match=r"pip install 'softprompt-server\[gguf\]'"):
        load_base_model(options_of(file))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"split.count": 3}, "one of 3 parts"),
        ({"llama.block_count": 1_000_000_000}, r"block_count is 1000000000 \(allowed: 0 to 20\)"),
        ({"llama.expert_count": 100_000}, "expert_count is 100000"),
        ({"llama.embedding_length": 1 << 30}, "embedding_length is 1073741824"),
        ({"llama.context_length": (1 << 31) + 1}, "context_length is 2147483649"),
        ({"tokenizer.ggml.tokens": None}, "no vocabulary"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "no vocabulary"),
        ({"tokenizer.ggml.eos_token_id": len(TOKENS)}, f"eos_token_id is {len(TOKENS)} "),
        ({"tokenizer.ggml.bos_token_id": "none"}, "bos_token_id is 'none'"),
    ],
)
def test_metadata_out_of_bounds_is_refused(metadata, said, tmp_path):
    """Before transformers sees the file."""
    file = write_gguf(tmp_path / "bad.gguf", metadata)
    with pytest.raises(BaseModelUnavailable, match=rf"bad\.gguf' cannot be used: .*{said}"):
        load_base_model(options_of(file))


@pytest.mark.parametrize("architecture", ["none-such", "bert", "clip", "Llama 3", "x" * 99])
def test_an_architecture_that_transformers_does_not_read_is_said(architecture, tmp_path):
    """By its name, or by the lack of one."""
    file = write_gguf(tmp_path / "bad.gguf", architecture=architecture)
    with pytest.raises(BaseModelUnavailable, match=rf"architecture {architecture} is not supported|no architecture"):
        load_base_model(options_of(file))


@pytest.mark.parametrize(
    "metadata",
    [
        {"llama.block_count": LAYERS - 1},
        {"llama.block_count": LAYERS + 1},
        {"llama.embedding_length": 64},
        {"llama.vocab_size": 1 << 24},
        {"llama.context_length": None},
        {"llama.attention.head_count": 0},
        {"llama.attention.head_count": 3},
        {"llama.attention.head_count": "many"},
        {"llama.attention.layer_norm_rms_epsilon": float("nan")},
        {"llama.feed_forward_length": 1 << 24},
        {"llama.rope.dimension_count": 0},
    ],
    ids=str,
)
def test_metadata_that_does_not_fit_the_tensors_is_said(metadata, tmp_path):
    """By us or by transformers; a number that was left out has transformers' default."""
    settings = settings_of(write_gguf(tmp_path / "bad.gguf", metadata), tmp_path)
    if metadata == {"llama.context_length": None}:
        assert load_base(settings, find_origin(settings)).base.max_context == 2048
        return
    with pytest.raises(ModelError):
        load_base(settings, find_origin(settings))


@pytest.mark.parametrize("change", ["a tensor more", "a tensor less", "a tensor by another name"])
def test_tensors_that_transformers_would_drop_or_make_up_are_said(change, tmp_path):
    """It drops those that its configuration has no place for, and fills the others with random numbers."""
    tensors = weights()
    if change == "a tensor more":
        tensors["blk.0.attn_q.bias"] = np.ones(32, np.float32)
    else:
        tensor = tensors.pop("blk.1.ffn_up.weight")
        if change == "a tensor by another name":
            tensors["blk.1.other.weight"] = tensor
    with pytest.raises(ModelError, match=r"its tensors hold|lack 1 tensor "):
        load_base_model(options_of(write_gguf(tmp_path / "bad.gguf", tensors=tensors)))


@pytest.mark.parametrize("told_by", ["tensor", "metadata"])
def test_a_scaled_rotary_embedding_is_refused(told_by, tmp_path):
    """transformers reads neither the factors nor the kind of scaling, and would answer otherwise than in training."""
    tensors, metadata = weights(), {}
    if told_by == "tensor":
        tensors["rope_freqs.weight"] = np.ones(4, np.float32)
    else:
        metadata = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}
    with pytest.raises(UnsupportedArchitecture, match="scales its rotary embedding"):
        load_base_model(options_of(write_gguf(tmp_path / "bad.gguf", metadata, tensors=tensors)))


def test_nothing_is_left_in_the_folder_of_temporary_files(file, tmp_path, monkeypatch):
    """transformers sees an empty folder of ours, which is gone afterwards, whatever happens."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load_base_model(options_of(file))
    with pytest.raises(BaseModelUnavailable):
        load_base_model(options_of(write_gguf(tmp_path / "bad.gguf", architecture="none-such")))
    assert os.listdir(tmp_path) == ["bad.gguf"]
