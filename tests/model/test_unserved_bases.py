"""Every base model that cannot be loaded, read or proved ends in an error of ours that says why."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    CLIPConfig,
    DeepseekV3Config,
    Gemma4TextConfig,
    GitConfig,
    MixtralConfig,
    OpenAIGPTConfig,
)

from server.demo import BASE_DIR
from server.model.architecture import embedding_weight
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model, load_skeleton
from server.model.errors import (
    BaseModelUnavailable,
    ModelError,
    OutOfDeviceMemory,
    SelfProofFailed,
    UnsupportedArchitecture,
)
from server.model.foreign import foreign_errors
from server.model.kv_cache import KVCache
from server.model.self_proof import prove
from server.tokenizer.errors import TokenizerUnsupported
from server.tokenizer.tokenizer import Tokenizer
from tests.parity.architectures import VOCAB_SIZE, build

TINY = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA_LIKE = {**TINY, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 96}

UNSERVED = {
    "openai-gpt": lambda: OpenAIGPTConfig(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=96),
    "gemma4_text": lambda: Gemma4TextConfig(
        **LLAMA_LIKE, head_dim=8, hidden_size_per_layer_input=8, vocab_size_per_layer_input=61
    ),
    "deepseek_v3": lambda: DeepseekV3Config(
        **LLAMA_LIKE, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=8, head_dim=4
    ),
}


def start(folder, **options):
    """What a server does with a base model before anything else."""
    loaded = load_base_model(BaseModelOptions(str(folder), device="cpu", **options))
    return prove(loaded, choose_backend(loaded.device))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    build("llama").save_pretrained(folder)
    return folder


@pytest.fixture
def base(llama, tmp_path):
    return shutil.copytree(llama, tmp_path / "base")


@pytest.mark.parametrize("max_context", [None, 64])
@pytest.mark.parametrize("model_type", UNSERVED)
def test_an_architecture_that_breaks_is_refused_by_name(model_type, max_context, tmp_path):
    """Whatever transformers raises, where it builds, probes or runs it; no message asks for an option in vain."""
    AutoModelForCausalLM.from_config(UNSERVED[model_type]()).save_pretrained(tmp_path)
    with pytest.raises(
        (UnsupportedArchitecture, SelfProofFailed), match=f"{model_type} models cannot be served: "
    ) as e:
        start(tmp_path, max_context=max_context)
    assert "--max-context" not in str(e.value)


def test_what_cannot_be_built_is_refused_before_its_weights_are_read(tmp_path):
    GitConfig(**TINY).save_pretrained(tmp_path)
    for load in (load_skeleton, load_base_model):
        with pytest.raises(UnsupportedArchitecture, match="git models cannot be served"):
            load(BaseModelOptions(str(tmp_path), device="cpu", max_context=64))


def test_experts_are_read_without_weights_too(tmp_path):
    """What is served can be published for from its files alone."""
    config = MixtralConfig(**LLAMA_LIKE, num_local_experts=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    options = BaseModelOptions(str(tmp_path), device="cpu")
    loaded = load_base_model(options)
    assert load_skeleton(options) == loaded.architecture
    assert prove(loaded, choose_backend(loaded.device)).disagreement < 1e-4


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "holds no usable model"),
        ("{", "holds no usable model"),
        ("[]", "holds no usable model"),
        ("null", "holds no usable model"),
        ('"llama"', "holds no usable model"),
        ("[" * 5000, "holds no usable model"),
        ("{}", "holds no usable model"),
        ('{"model_type": "no-such-thing"}', "no-such-thing"),
        ('{"model_type": 7}', "holds no usable model"),
        ('{"model_type": "llama", "hidden_size": "many"}', "holds no usable model"),
        ('{"model_type": "llama", "rope_scaling": {"rope_type": "none of these"}}', "none of these"),
        ('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}', "code of its own"),
        ('{"model_type": "no", "configuration_files": 7}', "holds no usable model"),
    ],
)
def test_a_configuration_of_no_use_is_said(config, said, base):
    (base / "config.json").write_text(config)
    for load in (load_base_model, load_skeleton):
        with pytest.raises(ModelError, match=said):
            load(BaseModelOptions(str(base), device="cpu"))


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": 5},
        {"num_hidden_layers": 0},
        {"hidden_act": "none of these"},
        {"vocab_size": -1},
        {"max_position_embeddings": None},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"quantization_config": {"quant_method": "awq", "bits": 4}},
        {"quantization_config": "4 bits"},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_work_is_said(change, base):
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError):
        start(base)


def test_a_model_of_another_kind_is_said(tmp_path):
    CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(
        UnsupportedArchitecture, match="clip models cannot be served: they are no causal language models"
    ):
        start(tmp_path)


def test_an_adapter_beside_the_weights_is_refused(base):
    """transformers would load it into the weights, and no fingerprint would know."""
    LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]).save_pretrained(base)
    for load in (load_base_model, load_skeleton):
        with pytest.raises(BaseModelUnavailable, match=r"adapter_config\.json"):
            load(BaseModelOptions(str(base), device="cpu"))


def test_an_adapter_alone_is_no_base_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(BaseModelUnavailable, match="PEFT"):
        load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))


def test_shards_of_a_distributed_run_are_refused(base):
    """transformers would load them in place of the file that the fingerprint is of."""
    (base / "shard-00000-model-00001-of-00001.safetensors").write_bytes(b"")
    with pytest.raises(BaseModelUnavailable, match="distributed"):
        load_base_model(BaseModelOptions(str(base), device="cpu"))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_none_are_said(name, content, base):
    """Empty, noise, and a pointer of Git LFS that was never fetched."""
    (base / "model.safetensors").unlink()
    (base / name).write_bytes(content)
    with pytest.raises(BaseModelUnavailable, match="weights"):
        start(base)


def test_a_pickle_with_code_is_never_run(base):
    (base / "model.safetensors").unlink()
    torch.save({"model.norm.weight": os.system}, base / "pytorch_model.bin")
    with pytest.raises(BaseModelUnavailable, match="weights"):
        start(base)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value, base):
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"].fill_(value)
    save_file(weights, base / "model.safetensors")
    with pytest.raises(SelfProofFailed, match="NaN or infinity"):
        start(base)


def test_weights_that_overflow_the_dtype_are_named(base):
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"].fill_(1e30)
    save_file(weights, base / "model.safetensors")
    with pytest.raises(SelfProofFailed, match="float16"):
        start(base, dtype="float16")


def test_weights_that_answer_the_same_to_everything_are_named(base):
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"].zero_()
    save_file(weights, base / "model.safetensors")
    with pytest.raises(SelfProofFailed, match="all the same"):
        start(base)


def test_a_hub_id_offline_is_said():
    with pytest.raises(BaseModelUnavailable, match="no-such-org/no-such-model"):
        load_base_model(BaseModelOptions("no-such-org/no-such-model", device="cpu"))


def test_a_context_too_short_to_be_proved_is_said(tmp_path):
    model = build("gpt2")
    config = model.config
    config.n_positions = 8
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot be served"):
        start(tmp_path)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to …")])
def test_missing_memory_is_said_as_such(error):
    with pytest.raises(OutOfDeviceMemory, match="the weights: there is not enough memory"):  # noqa: SIM117
        with foreign_errors(BaseModelUnavailable, "the weights"):
            raise error


def test_a_cache_that_no_memory_holds_is_said(base):
    loaded = load_base_model(BaseModelOptions(str(base), device="cpu"))
    for num_blocks in (10**9, 10**12, 10**16):
        with pytest.raises(OutOfDeviceMemory, match="--num-kv-blocks"):
            KVCache(loaded.architecture.layers, num_blocks, 1024, torch.float32, torch.device("cpu"))
    assert embedding_weight(loaded.model).shape[0] == VOCAB_SIZE


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "[" * 5000, '{"version": "1.0", "model": {"type": "none of these"}}'],
    ids=lambda t: t[:9],
)
def test_a_broken_tokenizer_is_said(content, tmp_path):
    """The Rust library raises bare exceptions."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE_DIR / name, tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerUnsupported, match="no tokenizer can be loaded from"):
        Tokenizer.load(tmp_path)


def test_a_folder_without_tokenizer_is_said(base):
    with pytest.raises(TokenizerUnsupported):
        Tokenizer.load(base)
