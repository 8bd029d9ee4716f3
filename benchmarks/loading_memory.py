"""How much memory loading a base model takes at its peak, beside the weights that it keeps.

    python -m benchmarks.loading_memory                     a Llama of 550 million parameters, every dtype, Linux
    python -m benchmarks.loading_memory --layers 2 --tied   a small one, whose head is its embeddings

Weights are random: memory does not depend on them. Each case loads and proves one model in a process of its own. The
ratio is the peak of the resident set, less what the process held before, over the bytes of the weights in the serving
dtype. The resident set counts pages of mapped files, which the system may drop.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from benchmarks.resident_memory import MIB, peak_bytes, reset_peak
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.self_proof import prove

CASES = (
    ("float32", "float32", "one file"),
    ("float32", "float32", "shards"),
    ("bfloat16", "float32", "one file"),
    ("bfloat16", "float32", "shards"),
    ("bfloat16", "bfloat16", "one file"),
    ("float32", "bfloat16", "one file"),
)


def main() -> None:
    """Measure each case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--tied", action="store_true", help="the head is the embeddings")
    parser.add_argument("--load", nargs=2, metavar=("FOLDER", "DTYPE"), help="load one model and print its figures")
    given = parser.parse_args()
    if given.load:
        print(json.dumps(load(*given.load)))
        return
    print("| stored | served | files | weights MiB | peak of loading | peak of the proof | kept | seconds |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for stored, served, files in CASES:
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), given.layers, given.tied, stored, "400MB" if files == "shards" else "100GB")
            command = [sys.executable, "-m", "benchmarks.loading_memory", "--load", folder, served]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        ratios = " | ".join(f"{figures[name]:.2f}" for name in ("loading", "proof", "kept"))
        print(
            f"| {stored} | {served} | {files} | {figures['weights_mib']:.0f} | {ratios} | {figures['seconds']:.0f} |",
            flush=True,
        )


def save(folder: Path, num_layers: int, tied: bool, dtype: str, max_shard_size: str) -> None:
    """Write a random Llama: hidden size 1,536, 12 heads over 4 KV heads, a vocabulary of 32,000."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=1536,
        intermediate_size=4096,
        num_hidden_layers=num_layers,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
    )
    build: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
    build(config, dtype=getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)


def load(folder: str, dtype: str) -> dict[str, float]:
    """Load and prove one model in this process: its size in MiB, both peaks and what stays as ratios to it."""
    torch.set_num_threads(1)
    before = reset_peak()
    began = time.monotonic()
    loaded = load_base_model(BaseModelOptions(folder, dtype=dtype, device="cpu"))
    seconds = time.monotonic() - began
    peaks = {"loading": peak_bytes()}
    kept = reset_peak()
    prove(loaded, choose_backend(loaded.device))
    peaks |= {"proof": peak_bytes(), "kept": kept}
    stored = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    size = stored * loaded.dtype.itemsize / _stored_itemsize(folder)
    ratios = {name: (peak - before) / size for name, peak in peaks.items()}
    return {"weights_mib": size / MIB, "seconds": seconds, **ratios}


def _stored_itemsize(folder: str) -> int:
    name: str = json.loads((Path(folder) / "config.json").read_text())["dtype"]
    dtype: torch.dtype = getattr(torch, name)
    return dtype.itemsize


if __name__ == "__main__":
    main()
