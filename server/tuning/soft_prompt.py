"""The trainable soft prompt: built, wrapped around the twin and saved by PEFT."""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import (
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TaskType,
    get_peft_model,
)
from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values
from transformers import PreTrainedModel

from server.model.architecture import embedding_weight
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import init_text_ids
from server.tuning.errors import PlanRefused, TuningUnsupported
from server.tuning.flat_attention import LayerKeyValues
from server.tuning.plan import Initialisation, Method, TuningPlan

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


class SoftPrompt:
    """A PEFT prompt around a twin, which it may wrap and keep.

    The plan decides the initial values; the same seed gives the same values. The random state of the process does not
    change. Raises `PlanRefused` if the initialisation has no tokens, and `TuningUnsupported`.
    """

    def __init__(self, twin: PreTrainedModel, tokenizer: Tokenizer, plan: TuningPlan, labels: Sequence[str]) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            try:
                with warnings.catch_warnings():
                    # PEFT reads a property that transformers is about to rename.
                    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                    model = get_peft_model(twin, _peft_config(plan, twin))
            except (ValueError, RuntimeError, AttributeError) as error:
                raise TuningUnsupported(f"PEFT cannot make a {plan.method} prompt for this base model") from error
        assert isinstance(model, PeftModel)
        self._model = model
        self._config: Any = model.peft_config["default"]
        self.is_key_values = plan.method is Method.PREFIX_TUNING
        self.num_virtual_tokens = plan.num_virtual_tokens
        self.parameters = [parameter for parameter in self._encoder.parameters() if parameter.requires_grad]
        if plan.method is not Method.P_TUNING and plan.initialisation is not Initialisation.RANDOM:
            self._begin_with(twin, _initial_ids(plan, tokenizer, labels))

    @property
    def _encoder(self) -> Any:
        return self._model.prompt_encoder["default"]

    def embeddings(self) -> torch.Tensor:
        """Virtual tokens `[num_virtual_tokens, hidden_size]`, with gradient."""
        embeddings: torch.Tensor = self._model.get_prompt(1)[0]
        return embeddings

    def key_values(self) -> list[LayerKeyValues]:
        """Keys and values of the virtual tokens in each layer, with gradient."""
        cache: Any = self._model.get_prompt(1)
        return [LayerKeyValues(layer.keys[0], layer.values[0]) for layer in cache.layers]

    def matrix(self) -> torch.Tensor:
        """The matrix that `save` would write, on its device.

        Its shape is `[num_virtual_tokens, hidden_size]`, or for keys and values
        `[num_virtual_tokens, 2 * num_layers * num_kv_heads * head_dim]`.
        """
        with torch.no_grad():
            prompt_tokens: Any = self._model.prompt_tokens
            tokens = prompt_tokens["default"].to(self.parameters[0].device)
            matrix: torch.Tensor = self._encoder(tokens[None])[0]
        return matrix.detach().clone()

    def save(self, base_name: str, matrix: torch.Tensor) -> tuple[bytes, bytes]:
        """`adapter_config.json` and `adapter_model.safetensors` as PEFT writes them, naming the base by `base_name`.

        `matrix` is a result of the method `matrix`. Of P_TUNING the matrix is saved, never the encoder.
        """
        self._config.base_model_name_or_path = base_name
        self._model.get_prompt_embedding_to_save = lambda adapter_name: matrix.cpu()  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as folder:
            self._model.save_pretrained(folder, save_embedding_layers=False)  # or PEFT asks the hub
            return (Path(folder) / CONFIG).read_bytes(), (Path(folder) / TENSORS).read_bytes()

    def _begin_with(self, twin: PreTrainedModel, token_ids: Sequence[int]) -> None:
        weight = self._encoder.embedding.weight
        ids = torch.tensor([token_ids], device=weight.device)
        with torch.no_grad():
            if self.is_key_values:
                cache = twin(input_ids=ids, use_cache=True).past_key_values
                initialize_kv_prefix_from_past_key_values(
                    self._model, past_key_values=cache, num_virtual_tokens=self.num_virtual_tokens
                )
            else:
                weight.copy_(twin.get_input_embeddings()(ids)[0].to(weight.dtype))


def _peft_config(plan: TuningPlan, twin: PreTrainedModel) -> PeftConfig:
    common: dict[str, Any] = {"task_type": TaskType.CAUSAL_LM, "num_virtual_tokens": plan.num_virtual_tokens}
    match plan.method:
        case Method.PROMPT_TUNING:
            return PromptTuningConfig(**common)
        case Method.P_TUNING:
            hidden_size = plan.encoder_hidden_size or int(embedding_weight(twin).shape[1])
            return PromptEncoderConfig(**common, encoder_hidden_size=hidden_size)
        case Method.PREFIX_TUNING:
            return PrefixTuningConfig(**common)


def _initial_ids(plan: TuningPlan, tokenizer: Tokenizer, labels: Sequence[str]) -> list[int]:
    """`num_virtual_tokens` token ids to initialise from."""
    match plan.initialisation:
        case Initialisation.SAMPLE_VOCAB:
            tokens = range(min(tokenizer.vocab_size, tokenizer.num_ids))
            allowed = [token for token in tokens if token not in tokenizer.special_token_ids]
            return random.Random(plan.seed).choices(allowed, k=plan.num_virtual_tokens)
        case Initialisation.LABELS:
            if not labels:
                raise PlanRefused("LABELS needs examples with labels", param="initialisation")
            ids = [token for label in labels for token in tokenizer.encode(label, add_special_tokens=False)]
            if not ids:
                raise PlanRefused("LABELS needs labels that have tokens", param="initialisation")
        case _:
            ids = init_text_ids(tokenizer, plan.init_text or "")
    return (ids * -(-plan.num_virtual_tokens // len(ids)))[: plan.num_virtual_tokens]
