"""Heads of transformers' own classes, over hidden states that somebody else computed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    ModernBertConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    RobertaConfig,
    modeling_layers,
)

from prompts_store.checkpoint_records import BaseKind, Checkpoint, PeftType, StoredTensor, TaskType
from prompts_store.manifest import Manifest
from server.model.heads.classes import build_class
from server.model.heads.head import Rows
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters

SIZES: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DECODERS: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(
        vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES, num_key_value_heads=2),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "opt": OPTConfig(**SIZES, ffn_dim=24, word_embed_proj_dim=16),
}
ENCODERS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "albert": AlbertConfig(**SIZES, embedding_size=8),
    "distilbert": DistilBertConfig(
        vocab_size=32, dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=64, pad_token_id=0
    ),
    "deberta": DebertaV2Config(**SIZES, pooler_hidden_size=16),
    "modernbert": ModernBertConfig(**SIZES, cls_token_id=1, sep_token_id=2),
}
CLASSES = {
    TaskType.SEQ_CLS: AutoModelForSequenceClassification,
    TaskType.TOKEN_CLS: AutoModelForTokenClassification,
    TaskType.QUESTION_ANS: AutoModelForQuestionAnswering,
}
WITHOUT_CLASS = {
    "opt": (TaskType.TOKEN_CLS,),
    # Their classes name the backbone otherwise, so transformers loads none of its weights.
    "llama": (TaskType.QUESTION_ANS,),
    "qwen2": (TaskType.QUESTION_ANS,),
}
NUM_LABELS = 3


def whole_model(config: PreTrainedConfig, task_type: TaskType) -> PreTrainedModel:
    """Return transformers' own model with random weights, biases among them."""
    torch.manual_seed(0)
    config.num_labels = 2 if task_type is TaskType.QUESTION_ANS else NUM_LABELS
    model: PreTrainedModel = CLASSES[task_type].from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def checkpoint_of(model: PreTrainedModel, task_type: TaskType, names: set[str], **config: Any) -> Checkpoint:
    """Return a checkpoint with these parameters of a model."""
    tensors = {name: tensor.detach().numpy() for name, tensor in model.named_parameters() if name in names}
    stored = tuple(StoredTensor(f"base_model.{name}", "F32", values) for name, values in sorted(tensors.items()))
    return Checkpoint(PeftType.PROMPT_TUNING, 1, {"task_type": str(task_type), **config}, stored)


def logits_of(output: Any) -> torch.Tensor:
    if "logits" in output:
        return output.logits[0] if output.logits.dim() == 3 else output.logits
    return torch.stack([output.start_logits[0], output.end_logits[0]], dim=-1)


def heads_of(config: PreTrainedConfig, files: tuple[Path, ...] = ()) -> Heads:
    kind = BaseKind.ENCODER if config.model_type in ENCODERS or config.model_type == "deberta-v2" else BaseKind.DECODER
    return Heads(config, kind, HeldParameters(files))


@pytest.mark.parametrize("task_type", CLASSES)
@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_a_head_gives_what_the_whole_class_gives(name: str, task_type: TaskType) -> None:
    """Its parameters are those that the backbone lacks, and the backbone's own pooler."""
    config = (DECODERS | ENCODERS)[name]
    heads = heads_of(config)
    if task_type in WITHOUT_CLASS.get(name, ()):
        assert task_type not in heads
        return
    model = whole_model(config, task_type)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids)[0][0]
        expected = logits_of(model(input_ids=ids))
    head = heads.build(checkpoint_of(model, task_type, set(heads[task_type].shapes)), Manifest())
    is_last = head.rows is Rows.LAST
    assert is_last == (name in DECODERS and task_type is TaskType.SEQ_CLS)
    with torch.no_grad():
        found = head(hidden[-1:] if is_last else hidden, 0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    num_virtual = 2
    if not is_last and task_type is not TaskType.SEQ_CLS:
        torch.testing.assert_close(head(hidden, num_virtual), expected[num_virtual:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", DECODERS)
def test_a_head_on_a_decoder_gives_no_warning_of_padding(name, monkeypatch):
    """transformers warns of padding tokens that it cannot see, though there are none."""
    said: list[str] = []
    own = AutoModelForSequenceClassification._model_mapping[type(DECODERS[name])].__module__
    for module in (modeling_layers, sys.modules[own]):
        if hasattr(module, "logger"):
            monkeypatch.setattr(module.logger, "warning_once", said.append)
    model = build_class(DECODERS[name], TaskType.SEQ_CLS, 3).to_empty(device="cpu")
    assert model(inputs_embeds=torch.zeros(1, 4, 16)).logits.shape == (1, 3)
    assert not said
