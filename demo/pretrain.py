"""Pre-training of the demo's base model on one CPU thread: bf16 matrix products, fp32 weights."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo.data.corpus import Line, lines
from demo.tokenization import encode

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """Sizes and schedule; ``batch_tokens`` counts padded positions, ``peak_lr`` is held until ``decay_from``."""

    hidden_size: int = 256
    num_layers: int = 5
    num_heads: int = 8
    intermediate_size: int = 704
    vocab_size: int = 2048
    num_steps: int = 5600
    batch_tokens: int = 2304
    chunk_lines: int = 20_000
    peak_lr: float = 2.5e-3
    warmup_steps: int = 200
    decay_from: float = 0.4
    weight_decay: float = 0.05
    prompt_weight: float = 0.15
    seed: int = 1


Row = tuple[list[int], list[float]]
"""Token ids of a line and the loss weight of each."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``ids`` and ``weights`` are ``[num_lines, num_tokens]``; a weight is the loss weight of that token."""

    ids: torch.Tensor
    weights: torch.Tensor


def make_model(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh model, its weights drawn from ``recipe.seed``."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "eager"  # on a CPU its backward pass is twice as fast as that of sdpa
    return LlamaForCausalLM(config)


def batches(tokenizer: PreTrainedTokenizerFast, recipe: BaseRecipe, reserved: frozenset[str]) -> Iterator[Batch]:
    """Endless batches of lines of similar length, right-padded."""
    stream, rng = lines(recipe.seed, reserved), random.Random(recipe.seed)
    while True:
        chunk = list(itertools.islice(stream, recipe.chunk_lines))
        rows = sorted(_rows(tokenizer, chunk, recipe.prompt_weight), key=lambda row: len(row[0]))
        groups = list(_groups(rows, recipe.batch_tokens))
        rng.shuffle(groups)
        for group in groups:
            yield _pad(group, tokenizer.pad_token_id)


def _rows(tokenizer: PreTrainedTokenizerFast, chunk: list[Line], prompt_weight: float) -> Iterator[Row]:
    prompts = encode(tokenizer, [line.prompt for line in chunk])
    outputs = encode(tokenizer, [line.output for line in chunk])
    for line, prompt, output in zip(chunk, prompts, outputs, strict=True):
        weights = [prompt_weight] * len(prompt) + [line.output_weight] * (len(output) + 1)
        weights[len(prompt)] = line.first_weight
        yield [*prompt, *output, tokenizer.eos_token_id], weights


def _groups(rows: list[Row], batch_tokens: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        if group and len(row[0]) * (len(group) + 1) > batch_tokens:
            yield group
            group = []
        group.append(row)


def _pad(group: list[Row], pad_id: int) -> Batch:
    width = max(len(ids) for ids, _ in group)
    ids = torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _ in group])
    weights = torch.tensor([w + [0.0] * (width - len(w)) for _, w in group])
    return Batch(ids, weights)


def weighted_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the next token, weighted. Causal attention never sees the padding on the right."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch.ids, use_cache=False).logits
    losses = functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
    )
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def learning_rate_at(step: int, recipe: BaseRecipe) -> float:
    """Warm-up, constant, then linear to zero; a factor of the peak."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    return min(1.0, (recipe.num_steps - step) / (recipe.num_steps * (1 - recipe.decay_from)))


def _optimizers(model: LlamaForCausalLM, recipe: BaseRecipe) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=recipe.peak_lr, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=recipe.peak_lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True),
    ]


def pretrain(tokenizer: PreTrainedTokenizerFast, recipe: BaseRecipe, reserved: frozenset[str]) -> LlamaForCausalLM:
    """Train a base model from nothing; the same recipe and machine give the same weights."""
    model = make_model(recipe, tokenizer)
    optimizers = _optimizers(model, recipe)
    started, recent = time.monotonic(), 0.0
    for step, batch in enumerate(itertools.islice(batches(tokenizer, recipe, reserved), recipe.num_steps)):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.peak_lr * learning_rate_at(step, recipe)
        loss = weighted_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        recent += loss.item()
        if (step + 1) % 100 == 0:
            _LOG.info("step %d loss %.3f, %.0f s", step + 1, recent / 100, time.monotonic() - started)
            recent = 0.0
    return model


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model as fp16 with its configuration; ``eos_token_id`` ends a generation."""
    model.half()  # type: ignore[no-untyped-call]
    model.config.dtype = torch.float16
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
