"""A Llama's folder as the GGUF file that llama.cpp reads: the same weights, in float32 or in llama.cpp's 8-bit blocks.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Matrices get the wanted type, norms stay float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.folders import CACHE
from benchmarks.models import BenchModel

TYPES = ("F32", "Q8_0")
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def prepare(model: BenchModel, kind: str) -> Path:
    """The file of a model's weights in the type `kind` of `TYPES`; written the first time, and kept."""
    path = path_of(model, kind)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        _write(Path(model.folder), unfinished, kind)
        unfinished.rename(path)
    return path


def path_of(model: BenchModel, kind: str) -> Path:
    """Where that file is kept."""
    return CACHE / "models" / f"{model.name}.{kind}.gguf"


def _write(folder: Path, path: Path, kind: str) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    writer = GGUFWriter(path, "llama")
    _describe(writer, config)
    _add_vocabulary(writer, folder)
    wanted = GGMLQuantizationType[kind]
    for name, tensor in load_file(folder / "model.safetensors").items():
        weights = _in_llama_cpp_order(name, tensor.float().numpy(), config)
        if weights.ndim == 1:
            writer.add_tensor(_name(name), weights)
        else:
            writer.add_tensor(_name(name), quantize(weights, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])


def _add_vocabulary(writer: Any, folder: Path) -> None:
    """Requests are token ids, so how text is split does not matter; llama.cpp wants a vocabulary all the same."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    merges = tokenizer["model"]["merges"] or [[token for token in vocabulary if len(token) == 1][:2]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_add_bos_token(False)
    writer.add_eos_token_id(0)


def _in_llama_cpp_order(name: str, weights: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """llama.cpp rotates neighbouring numbers of a query or key, transformers numbers half a head apart."""
    num_heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(
        name.split(".")[-2]
    )
    if num_heads is None:
        return weights
    halves = weights.reshape(num_heads, 2, -1, weights.shape[-1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weights.shape)


def _name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    stem = name.removesuffix(".weight")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[part]}.weight"
