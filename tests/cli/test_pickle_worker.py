"""Pickles of tensors, read as weights only: what is kept, left out and refused."""

import zipfile

import pytest
import torch
from peft import (
    CartridgeConfig,
    CPTConfig,
    MultitaskPromptTuningConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from prompts_store.checkpoint.config_reader import read_peft_type
from prompts_store.checkpoint.layouts import LAYOUTS
from server.cli.tasks import pickle_worker

ROWS = torch.arange(32, dtype=torch.float32).reshape(4, 8)


@pytest.fixture
def pickle_file(tmp_path):
    """Write an `adapter_model.bin` of this content; return its path."""

    def write(content):
        torch.save(content, tmp_path / "adapter_model.bin")
        return tmp_path / "adapter_model.bin"

    return write


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"prompt_embeddings": ROWS, "base_model.classifier.weight": ROWS}, "base_model.classifier.weight"),
        ({"base_model.model.lora_A.weight": ROWS, "prompt_embeddings": ROWS}, "base_model.model.lora_A.weight"),
        ({"word_embeddings.weight": ROWS}, "lacks prompt_embeddings"),
        ({}, "lacks prompt_embeddings"),
        ({"prompt_encoder.default.embedding.weight": ROWS}, "the state of a training run"),
        (
            {"prompt_embeddings": ROWS, "prompt_encoder.default.delta_embedding.weight": ROWS},
            "prompt_encoder.default.delta_embedding.weight",
        ),
        ({"prompt_embeddings": ROWS.int()}, "as int32"),
        ({"prompt_embeddings": ROWS.to_sparse()}, "safetensors does not have"),
        ({"prompt_embeddings": torch.zeros(1).expand(2**40)}, "bytes as float32 (--max-tensor-bytes)"),
        ({"prompt_embeddings": [1.0, 2.0]}, "something else than tensors by name"),
        ([ROWS], "something else than tensors by name"),
        ({f"layer{number}": ROWS for number in range(9)}, "layer3 and 5 more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_soft_prompt_is_refused_by_name(pickle_file, content, message):
    """Unknown names, missing ones, other dtypes and forms, and a tensor that claims more than the file holds."""
    file = pickle_file(content)
    with pytest.raises(pickle_worker.Refused) as found:
        kept, _ = pickle_worker.sort_tensors(pickle_worker.read_tensors(str(file)), ["prompt_embeddings"])
        pickle_worker.check_tensors(kept, 2**26)
    assert message in str(found.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"PK\x03\x04" + b"\0" * 99, b"no pickle", b"cut"], ids=repr)
def test_a_damaged_file_is_refused(pickle_file, content):
    """Empty, cut off, or no pickle at all."""
    file = pickle_file({"prompt_embeddings": ROWS})
    file.write_bytes(file.read_bytes()[:-300] if content == b"cut" else content)
    with pytest.raises(pickle_worker.Refused, match="is damaged"):
        pickle_worker.read_tensors(str(file))


def test_a_compressed_file_is_refused(pickle_file):
    """Its bytes would be taken for values."""
    file = pickle_file({"prompt_embeddings": ROWS})
    with zipfile.ZipFile(file) as old:
        records = {one.filename: old.read(one) for one in old.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in records.items():
            new.writestr(name, content)
    with pytest.raises(pickle_worker.Refused, match="is compressed"):
        pickle_worker.read_tensors(str(file))


def test_a_large_file_is_not_read_whole(pickle_file, monkeypatch):
    """Its checksums are not compared, and its values are the same."""
    monkeypatch.setattr(pickle_worker, "CHECKED_BYTES", 0)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("the whole file was read"))
    file = pickle_file({"prompt_embeddings": ROWS})
    assert torch.equal(pickle_worker.read_tensors(str(file))["prompt_embeddings"], ROWS)


def test_a_flipped_bit_is_damage(pickle_file):
    """By the checksum in the file."""
    file = pickle_file({"prompt_embeddings": ROWS})
    content = file.read_bytes()
    begin = content.index(ROWS.numpy().tobytes())
    file.write_bytes(content[:begin] + b"\1" + content[begin + 1 :])
    with pytest.raises(pickle_worker.Refused, match="is damaged"):
        pickle_worker.read_tensors(str(file))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "config",
    [
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, encoder_hidden_size=8),
        MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, num_tasks=3, num_ranks=2),
        CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[1, 2, 3], cpt_tokens_type_mask=[1, 2, 3]),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, num_frozen_tokens=2),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_what_peft_saves_as_a_pickle_is_what_it_saves_as_safetensors(tmp_path, config):
    """For every prompt type, with the embedding layer saved along: the same names, dtypes and values are kept."""
    base = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=4, n_positions=64))
    model = get_peft_model(base, config)
    model.save_pretrained(str(tmp_path / "new"))
    model.save_pretrained(str(tmp_path / "old"), safe_serialization=False, save_embedding_layers=True)
    expected = load_file(tmp_path / "new" / "adapter_model.safetensors")
    found = pickle_worker.read_tensors(str(tmp_path / "old" / "adapter_model.bin"))
    peft_type = read_peft_type((tmp_path / "old" / "adapter_config.json").read_bytes())
    kept, left_out = pickle_worker.sort_tensors(found, LAYOUTS[peft_type].tensor_names)
    assert left_out and all("wte" in name or "lm_head" in name for name in left_out)
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) and kept[name].dtype == expected[name].dtype for name in kept)
