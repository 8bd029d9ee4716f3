"""The start-up proof of an encoder: a crowded ragged batch, against transformers' own forward pass one by one.

The batch holds sequences alone, behind embeddings, and behind keys and values where the model takes any, some of equal
length. Both paths compute in float32 first: that proves the logic. A model that serves half precision is then compared
as it serves: it may be off by what the stock model's own rounding costs, and little more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import DynamicCache, PreTrainedModel

from server.model.base_model import LoadedModel, dtype_name
from server.model.cpu.packing import JointLinear, PackedLinear
from server.model.encoder.attention import ENCODER_ATTENTION
from server.model.encoder.batch import EncoderInput
from server.model.encoder.installed import built_with, install
from server.model.encoder.runner import Encoder, EncoderRunner
from server.model.errors import SelfProofFailed
from server.model.foreign import foreign_errors
from server.model.prefix import Prefix, PrefixKind
from server.model.rounding import Rounding, compare_rounding
from server.model.twin import make_twin

# Of the hidden states' own spread: float32 agrees to rounding.
_TOLERANCE = 1e-3
_MAX_WINDOW = 256  # rows: a window further than that is not crossed

States = list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class EncoderProof:
    """How far the paths are apart, in standard deviations of the hidden states.

    `disagreement` is the largest difference in float32. `rounding` is None for a model that serves float32.
    """

    disagreement: float
    rounding: Rounding | None

    def __str__(self) -> str:
        said = f"hidden states agree to {self.disagreement:.1e} of their spread"
        return said if self.rounding is None else f"in float32 {said}; {self.rounding}"


def prove_encoder(
    loaded: LoadedModel, seed: int = 0, make_runner: Callable[[LoadedModel], Encoder] = EncoderRunner
) -> EncoderProof:
    """Compare both paths on seeded random sequences. `make_runner` makes the one that serves.

    Raises `SelfProofFailed` over the tolerance, and if either path cannot be run.
    """
    refused = f"{loaded.model.config.model_type} models cannot be served"
    is_rounded = loaded.rounding_epsilon is not None
    with foreign_errors(SelfProofFailed, f"{refused}: the self-proof cannot be run"), torch.inference_mode():
        inputs = make_inputs(loaded, torch.Generator().manual_seed(seed))
        stock = make_twin(loaded.model)
        exact = stock if loaded.weights == "float32" else _in_float32(stock, loaded.device)
        expected = [stock_states(exact, one) for one in inputs]
        _check_stock(expected, loaded.dtype)
        served = loaded
        if is_rounded:
            ragged = _with_our_attention(_in_float32(stock, loaded.device))
            served = replace(loaded, model=ragged, dtype=torch.float32, quantised_to=None)
        disagreement = _largest_difference(make_runner(served).forward(inputs), expected)
        if not disagreement <= _TOLERANCE:  # NaN fails too
            raise SelfProofFailed(
                f"{refused}: the ragged batch and the stock model disagree by {disagreement:.2g} standard deviations "
                f"of the hidden states (allowed: {_TOLERANCE:.2g})"
            )
        if not is_rounded:
            return EncoderProof(disagreement, rounding=None)
        assert loaded.rounding_epsilon is not None
        states = make_runner(loaded).forward(inputs)
        rounding, wrong = _measure_rounding(states, stock, inputs, expected, loaded.rounding_epsilon)
    if wrong is not None:
        raise SelfProofFailed(
            f"{refused} in {loaded.weights}: the ragged batch agrees with the stock model in float32, and "
            f"not as it serves: in standard deviations of the hidden states, {wrong}"
        )
    return EncoderProof(disagreement, rounding)


def make_inputs(loaded: LoadedModel, generator: torch.Generator) -> list[EncoderInput]:
    """Sequences of random tokens, one of them with padding tokens, as far as the context holds them."""
    sizes = loaded.architecture
    padding = loaded.model.config.pad_token_id or 0

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, sizes.vocab_size, (count,), generator=generator).tolist())

    picked = torch.tensor(tokens(5), device=loaded.device)
    # Noise around real rows, so that the prefix has the norm of embeddings and is not text.
    rows = loaded.model.get_input_embeddings()(picked).float().cpu()
    rows = rows + rows.std() * torch.randn(rows.shape, generator=generator)
    long, short = (Prefix(name, PrefixKind.EMBEDDINGS, rows[:n]) for name, n in (("long", 5), ("short", 2)))
    windows = [layer.sliding_window for layer in sizes.layers if layer.sliding_window is not None]
    longest = min(24 + max(windows, default=0), _MAX_WINDOW, sizes.max_context - 5)
    inputs = [
        EncoderInput(tokens(7)),
        EncoderInput(tokens(9), long),
        EncoderInput(tokens(4), short),
        EncoderInput((*tokens(3), padding, *tokens(2), padding)),
        EncoderInput(tokens(max(longest, 1)), long),
        EncoderInput(tokens(9), long),
        EncoderInput(tokens(1)),
    ]
    uniform = sizes.uniform_kv
    if uniform is not None and sizes.key_values_problem is None:
        shape = (3, 2 * sizes.num_layers, *uniform)
        first, second = (
            Prefix(name, PrefixKind.KEY_VALUES, torch.randn(shape, generator=generator)) for name in ("a", "b")
        )
        inputs += [EncoderInput(tokens(6), first), EncoderInput(tokens(6), second)]
        inputs += [EncoderInput((padding, *tokens(6)), first)]
    return inputs


def stock_states(stock: PreTrainedModel, one: EncoderInput) -> torch.Tensor:
    """Float32 hidden states `[num_rows, hidden_size]` by the stock model alone, given what PEFT gives it."""
    embedding = stock.get_input_embeddings()
    ids = torch.tensor([list(one.token_ids)], device=stock.device)
    if one.prefix is None:
        output = stock(input_ids=ids)
    elif one.prefix.kind is PrefixKind.EMBEDDINGS:
        words = embedding(ids)
        output = stock(inputs_embeds=torch.cat([one.prefix.tensor.to(words)[None], words], dim=1))
    else:
        layers = one.prefix.tensor.to(ids.device, stock.dtype).permute(1, 2, 0, 3)
        cache = DynamicCache([(layers[i][None], layers[i + 1][None]) for i in range(0, len(layers), 2)])
        mask = torch.ones(1, one.num_key_values + ids.shape[1], device=ids.device)
        output = stock(input_ids=ids, attention_mask=mask, past_key_values=cache)
    states: torch.Tensor = output.last_hidden_state[0].float()
    return states


def _in_float32(stock: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """A copy of a stock model whose weights are float32: encoders are small."""
    wide = copy.deepcopy(stock)
    for name, module in list(wide.named_modules()):
        if isinstance(module, (PackedLinear, JointLinear)):
            linear = torch.nn.Linear(module.in_features, module.out_features, module.bias is not None, device=device)
            linear.weight = torch.nn.Parameter(module.weight.clone(), requires_grad=False)
            if module.bias is not None:
                linear.bias = torch.nn.Parameter(module.bias.clone(), requires_grad=False)
            wide.set_submodule(name, linear)
    torch.nn.Module.to(wide, torch.float32)
    return wide


def _with_our_attention(model: PreTrainedModel) -> PreTrainedModel:
    if built_with(model.config) == ENCODER_ATTENTION:
        model.set_attn_implementation(ENCODER_ATTENTION)
    install(model)
    return model


def _check_stock(states: States, dtype: torch.dtype) -> None:
    """Refuse hidden states that nothing can be compared with: NaN, infinity, or all equal."""
    if not all(bool(torch.isfinite(rows).all()) for rows in states):
        raise SelfProofFailed(
            f"these weights cannot be served in {dtype_name(dtype)}: transformers' own forward pass makes NaN or "
            "infinity of them; if the files are whole, try another --dtype"
        )
    if not float(torch.cat(states).std(dim=0).max()) > 0:
        raise SelfProofFailed("these weights cannot be served: their hidden states are all the same, whatever the text")


def _largest_difference(actual: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    differences = [float((ours - theirs).abs().max()) for ours, theirs in zip(actual, expected, strict=True)]
    return max(differences) / float(torch.cat(list(expected)).std())


def _measure_rounding(
    served: States, stock: PreTrainedModel, inputs: Sequence[EncoderInput], expected: States, epsilon: float
) -> tuple[Rounding, str | None]:
    """Compare the model as it serves with the stock model, both with what float32 expects."""
    kinds = [kind for one in inputs for kind in [one.prefix is not None] * one.num_rows]
    masks = {"all kinds": [True] * len(kinds), "sequences with a prefix": kinds}
    masks["sequences without one"] = [not has_prefix for has_prefix in kinds]
    groups = {
        name: torch.tensor(mask, device=expected[0].device).nonzero()[:, 0] for name, mask in masks.items() if any(mask)
    }
    theirs = [stock_states(stock, one) for one in inputs]
    return compare_rounding([states.float() for states in served], theirs, expected, groups, epsilon)
