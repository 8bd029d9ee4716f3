"""The trainable soft prompt and head: built, wrapped around the twin and saved by PEFT."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import (
    CartridgeConfig,
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
from server.tuning.errors import TuningUnsupported
from server.tuning.models.flat_attention import LayerKeyValues
from server.tuning.models.prompt_values import initial_ids, key_values_of
from server.tuning.plan import Initialisation, Method, TuningPlan

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
# The names under which PEFT looks for the number of attention heads.
_HEAD_COUNTS = frozenset({"num_attention_heads", "n_head", "num_heads", "encoder_attention_heads"})


class SoftPrompt:
    """A PEFT prompt around a twin, which it may wrap and keep. With SEQ_CLS, the twin's head is trained too.

    The plan decides the initial values; the same seed gives the same values. The random state of the process does not
    change. `parameters` are those of the prompt, then those of the head. Raises `PlanRefused` if the initialisation has
    no tokens, and `TuningUnsupported`.
    """

    def __init__(
        self,
        twin: PreTrainedModel,
        tokenizer: Tokenizer,
        plan: TuningPlan,
        labels: Sequence[str],
        task_type: TaskType = TaskType.CAUSAL_LM,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            try:
                with warnings.catch_warnings():
                    # PEFT reads a property that transformers is about to rename.
                    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                    model = get_peft_model(twin, _peft_config(plan, twin, task_type))
            except (ValueError, RuntimeError, AttributeError) as error:
                raise TuningUnsupported(f"PEFT cannot make a {plan.method} prompt for this base model") from error
        assert isinstance(model, PeftModel)
        self.model = model
        self._config: Any = model.peft_config["default"]
        self.is_key_values = plan.is_key_values
        self.num_virtual_tokens = plan.num_virtual_tokens
        self.prompt_parameters = [parameter for parameter in self._encoder.parameters() if parameter.requires_grad]
        own = (
            set(map(id, self.prompt_parameters)) if task_type is TaskType.SEQ_CLS else set(map(id, model.parameters()))
        )
        self.head_parameters = [one for one in model.parameters() if one.requires_grad and id(one) not in own]
        self.parameters = [*self.prompt_parameters, *self.head_parameters]
        is_given = plan.initialisation in (Initialisation.RANDOM, Initialisation.INSTRUCTION)
        if plan.method is not Method.P_TUNING and not is_given:
            self._begin_with(twin, initial_ids(plan, tokenizer, labels))

    @property
    def _encoder(self) -> Any:
        return self.model.prompt_encoder["default"]

    def embeddings(self) -> torch.Tensor:
        """Virtual tokens `[num_virtual_tokens, hidden_size]`, with gradient."""
        embeddings: torch.Tensor = self.model.get_prompt(1)[0]
        return embeddings

    def key_values(self) -> list[LayerKeyValues]:
        """Keys and values of the virtual tokens in each decoder layer, with gradient."""
        cache: Any = self.model.get_prompt(1)
        return [LayerKeyValues(layer.keys[0], layer.values[0]) for layer in cache.layers]

    def matrix(self) -> torch.Tensor:
        """The matrix that `save` would write, on its device.

        Its shape is `[num_virtual_tokens, hidden_size]`, or for keys and values
        `[num_virtual_tokens, 2 * num_layers * num_kv_heads * head_dim]`.
        """
        with torch.no_grad():
            prompt_tokens: Any = self.model.prompt_tokens
            tokens = prompt_tokens["default"][: self.num_virtual_tokens].to(self.parameters[0].device)
            matrix: torch.Tensor = self._encoder(tokens[None])[0]
        return matrix.detach().clone()

    def head_values(self) -> list[torch.Tensor]:
        """A copy of the head's parameters, empty without a head."""
        return [parameter.detach().clone() for parameter in self.head_parameters]

    def save(self, base_name: str, matrix: torch.Tensor, head: Sequence[torch.Tensor] = ()) -> tuple[bytes, bytes]:
        """`adapter_config.json` and `adapter_model.safetensors` as PEFT writes them, naming the base by `base_name`.

        `matrix` is a result of the method `matrix`, and `head` of `head_values`. Of P_TUNING the matrix is saved, never
        the encoder.
        """
        self._config.base_model_name_or_path = base_name
        self.model.get_prompt_embedding_to_save = lambda adapter_name: matrix.cpu()  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as folder, self._with_head(head):
            self.model.save_pretrained(folder, save_embedding_layers=False)  # or PEFT asks the hub
            return (Path(folder) / CONFIG).read_bytes(), (Path(folder) / TENSORS).read_bytes()

    @contextmanager
    def _with_head(self, values: Sequence[torch.Tensor]) -> Iterator[None]:
        """Give the head these values while the context is open."""
        own = self.head_values()
        self._set_head(values)
        try:
            yield
        finally:
            self._set_head(own)

    @torch.no_grad()
    def _set_head(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self.head_parameters, values, strict=True):
            parameter.copy_(value)

    def begin_with(self, layers: Sequence[LayerKeyValues]) -> None:
        """Start from these keys and values."""
        self._set_key_values([(layer.keys[None], layer.values[None]) for layer in layers])

    def _set_key_values(self, cache: Any) -> None:
        initialize_kv_prefix_from_past_key_values(
            self.model, past_key_values=cache, num_virtual_tokens=self.num_virtual_tokens
        )

    def _begin_with(self, twin: PreTrainedModel, token_ids: Sequence[int]) -> None:
        weight = self._encoder.embedding.weight
        ids = torch.tensor([token_ids], device=weight.device)
        with torch.no_grad():
            if self.is_key_values:
                self._set_key_values(key_values_of(twin, ids, self._config.num_layers))
            else:
                weight.copy_(twin.get_input_embeddings()(ids)[0].to(weight.dtype))


def _peft_config(plan: TuningPlan, twin: PreTrainedModel, task_type: TaskType) -> PeftConfig:
    common: dict[str, Any] = {"task_type": task_type, "num_virtual_tokens": plan.num_virtual_tokens}
    if task_type is TaskType.SEQ_2_SEQ_LM and not plan.is_key_values:
        common["num_transformer_submodules"] = 1  # rows for a decoder would neither be trained nor served
    if task_type is not TaskType.CAUSAL_LM and not plan.is_key_values:
        common["token_dim"] = int(embedding_weight(twin).shape[1])  # not the hidden size, where an encoder projects
    if _HEAD_COUNTS.isdisjoint(twin.config.get_text_config().to_dict()):  # MPT, XGLM
        common["num_attention_heads"] = twin.config.get_text_config().num_attention_heads
    match plan.method:
        case Method.PROMPT_TUNING:
            return PromptTuningConfig(**common)
        case Method.P_TUNING:
            hidden_size = plan.encoder_hidden_size or int(embedding_weight(twin).shape[1])
            return PromptEncoderConfig(**common, encoder_hidden_size=hidden_size)
        case Method.PREFIX_TUNING:
            return PrefixTuningConfig(**common)
        case Method.CARTRIDGE:
            return CartridgeConfig(**common, num_frozen_tokens=1)
