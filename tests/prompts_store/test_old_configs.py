"""`adapter_config.json` as PEFT 0.3 to 0.21 and people wrote it: read as PEFT reads it, or refused with a remedy."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import ParsedCheckpoint
from prompts_store.errors import InvalidCheckpoint
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from tests.prompts_store.test_peft_files import BASES, base_model, prompt_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # PEFT's word for keys that it does not know.
    pytest.mark.filterwarnings("ignore:Unexpected keyword arguments:UserWarning"),
]

BASE = replace(BASES["llama"], num_attention_heads=4)
NUM_TOKENS = 5
KEY_VALUES = 2 * 2 * 2 * 4
RELEASE_0_3: dict[str, Any] = {
    "base_model_name_or_path": None,
    "inference_mode": True,
    "num_attention_heads": 4,
    "num_layers": 2,
    "num_transformer_submodules": 1,
    "num_virtual_tokens": NUM_TOKENS,
    "peft_type": "PROMPT_TUNING",
    "prompt_tuning_init": "RANDOM",
    "prompt_tuning_init_text": None,
    "task_type": "CAUSAL_LM",
    "token_dim": 16,
    "tokenizer_name_or_path": None,
}
RELEASE_0_9 = RELEASE_0_3 | {"auto_mapping": None, "revision": None, "tokenizer_kwargs": None}
RELEASE_0_21 = RELEASE_0_9 | {"modules_to_save": None, "peft_version": "0.21.2"}
ENCODER = {"encoder_dropout": 0.0, "encoder_hidden_size": 8, "encoder_num_layers": 2}
P_TUNING = RELEASE_0_9 | ENCODER | {"encoder_reparameterization_type": "MLP", "peft_type": "P_TUNING"}
MULTITASK = RELEASE_0_9 | {"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init_task": 0}
PREFIX = RELEASE_0_9 | {"encoder_hidden_size": 16, "peft_type": "PREFIX_TUNING", "prefix_projection": True}
CPT = RELEASE_0_9 | {"cpt_token_ids": [1, 2, 3, 4, 5], "peft_type": "CPT"}
CARTRIDGE = RELEASE_0_21 | {"num_frozen_tokens": 1, "peft_type": "CARTRIDGE"}
MINIMAL = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": NUM_TOKENS}


@dataclass(frozen=True)
class Row:
    """A configuration: `without` some keys, between `head` and `tail` in its file.

    It is served, or refused with `remedy` in the sentence. `in_peft` says whether PEFT 0.21 loads it.
    """

    config: dict[str, Any]
    without: tuple[str, ...] = ()
    head: bytes = b""
    tail: bytes = b""
    remedy: str = ""
    in_peft: bool = True
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        kept = {key: value for key, value in self.config.items() if key not in self.without}
        return self.head + json.dumps(kept, indent=2, sort_keys=True).encode() + self.tail


def rows(width: int = 16, **others: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Random tensors of these shapes."""
    shapes = {"prompt_embeddings": (NUM_TOKENS, width), **others}
    return {name: torch.randn(shape, generator=torch.manual_seed(0)) for name, shape in shapes.items()}


FACTORS = {"prefix_task_cols": (1, NUM_TOKENS, 1), "prefix_task_rows": (1, 1, 16)}

ROWS = {
    "0.3, as it was": Row(RELEASE_0_3),
    "0.3, a text that it began with": Row(
        RELEASE_0_3
        | {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Bon où mal ?\n", "tokenizer_name_or_path": "x/y"}
    ),
    "0.3, SAMPLE_VOCAB while training": Row(
        RELEASE_0_3 | {"prompt_tuning_init": "SAMPLE_VOCAB", "inference_mode": False}
    ),
    "0.4, no task type, a class of the base": Row(
        RELEASE_0_9
        | {"auto_mapping": {"base_model_class": "X", "parent_library": "y"}, "task_type": None, "revision": "main"}
    ),
    "0.5, a byte order mark and a newline": Row(RELEASE_0_9, head=b"\xef\xbb\xbf", tail=b"\r\n", in_peft=False),
    "0.6, no number of the model": Row(
        RELEASE_0_9
        | {"num_attention_heads": None, "num_layers": None, "token_dim": None, "num_transformer_submodules": None}
    ),
    "0.9, arguments of a tokenizer": Row(
        RELEASE_0_9
        | {
            "prompt_tuning_init": "TEXT",
            "prompt_tuning_init_text": "x",
            "tokenizer_name_or_path": "x/y",
            "tokenizer_kwargs": {"trust_remote_code": True},
        }
    ),
    "0.21, as it was": Row(RELEASE_0_21),
    "0.21, no modules to save": Row(RELEASE_0_21 | {"modules_to_save": []}),
    "0.22, keys of an adapter and of the future": Row(
        RELEASE_0_21
        | {
            "bias": "none",
            "fan_in_fan_out": False,
            "target_modules": None,
            "new_key": {"a": [1.5]},
            "peft_version": "0.22",
        }
    ),
    "by hand, two keys alone": Row(MINIMAL | {"task_type": "CAUSAL_LM"}),
    "by hand, TEXT without the text": Row(RELEASE_0_9 | {"prompt_tuning_init": "TEXT"}, in_peft=False),
    "0.5, P-tuning with dropout": Row(P_TUNING | {"encoder_dropout": 0.1, "encoder_hidden_size": None}),
    "0.5, P-tuning by an LSTM": Row(P_TUNING | {"encoder_reparameterization_type": "LSTM", "encoder_num_layers": 3}),
    "0.6, multitask with PEFT's own counts": Row(MULTITASK, tensors=rows(**FACTORS)),
    "0.6, multitask with null counts": Row(
        MULTITASK | {"num_tasks": None}, tensors=rows(**FACTORS), remedy="write the number", in_peft=False
    ),
    "0.3, a projected prefix, the whole model's width": Row(PREFIX, tensors=rows(KEY_VALUES)),
    "0.21, a prefix that began with nothing": Row(
        PREFIX | {"init_weights": "zero", "token_dim": 8, "num_attention_heads": 2}, tensors=rows(KEY_VALUES)
    ),
    "0.21, a cartridge": Row(CARTRIDGE, tensors=rows(KEY_VALUES)),
    "0.14, CPT that lets PEFT count": Row(CPT, without=("num_virtual_tokens",)),
    "0.14, CPT of another number": Row(CPT | {"num_virtual_tokens": 4}, remedy="Set num_virtual_tokens to 5"),
    "by hand, a count as a float": Row(
        RELEASE_0_9 | {"num_virtual_tokens": 5.0}, remedy="write a number such as 20", in_peft=False
    ),
    "by hand, a count as a text": Row(
        RELEASE_0_9 | {"num_virtual_tokens": "5"}, remedy="a number such as", in_peft=False
    ),
    "by hand, no count": Row(
        RELEASE_0_9, without=("num_virtual_tokens",), remedy="Write it into adapter_config.json", in_peft=False
    ),
    "by hand, the type as str() shows it": Row(
        RELEASE_0_9 | {"peft_type": "PeftType.PROMPT_TUNING"}, remedy='must be "PROMPT_TUNING"', in_peft=False
    ),
    "by hand, the type in small letters": Row(
        RELEASE_0_9 | {"peft_type": "prompt-tuning"}, remedy='must be "PROMPT_TUNING"', in_peft=False
    ),
    "by hand, no type": Row(RELEASE_0_9, without=("peft_type",), remedy="one of PROMPT_TUNING", in_peft=False),
    "0.21, another adapter": Row(
        RELEASE_0_21 | {"peft_type": "LORA", "r": 8}, remedy="supported are PROMPT_TUNING", in_peft=False
    ),
    "0.3, of a wider model": Row(
        RELEASE_0_3 | {"token_dim": 32}, remedy="Serve the base model that it was trained on", in_peft=False
    ),
}


def read(row: Row, folder: Path) -> ParsedCheckpoint:
    """Write the files of a row, and read them."""
    tensors = row.tensors or rows()
    (folder / "adapter_config.json").write_bytes(row.data)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return read_checkpoint(
        row.data,
        (folder / "adapter_model.safetensors").read_bytes(),
        BASE,
        task_index=0 if row.config["peft_type"] == "MULTITASK_PROMPT_TUNING" else None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.remedy])
def test_what_asks_for_nothing_more_is_read_as_peft_reads_it(name: str, tmp_path: Path) -> None:
    """The prefix is PEFT's own prompt, wherever PEFT 0.21 loads the files."""
    checkpoint = read(ROWS[name], tmp_path)
    if not ROWS[name].in_peft:
        with pytest.raises(Exception):  # noqa: B017 - of whatever type
            PeftModel.from_pretrained(base_model("llama"), str(tmp_path))
        return
    loaded = PeftModel.from_pretrained(base_model("llama"), str(tmp_path))
    np.testing.assert_allclose(checkpoint.prefix.values, prompt_of(loaded, checkpoint.task_index), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.remedy])
def test_what_is_refused_is_refused_with_a_remedy(name: str, tmp_path: Path) -> None:
    """In one sentence more than what is wrong."""
    with pytest.raises(InvalidCheckpoint) as refused:
        read(ROWS[name], tmp_path)
    assert ROWS[name].remedy in str(refused.value)


def test_the_table_is_long_enough() -> None:
    """Twenty files or more that are served, and the refusals."""
    assert sum(not row.remedy for row in ROWS.values()) >= 18
    assert len(ROWS) >= 28
