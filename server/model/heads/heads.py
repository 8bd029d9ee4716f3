"""The heads of one base model: their shapes, and heads built of a version's tensors."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from prompts_store.checkpoint.head import count_labels, head_values
from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint_records import BaseKind, Checkpoint, HeadShapes, TaskType, TensorKind
from prompts_store.manifest import Manifest, Pooling, ProblemType
from server.model.errors import UnsupportedArchitecture
from server.model.foreign import foreign_errors
from server.model.heads.classes import ClassHead, build_class, has_class
from server.model.heads.head import Head, Rows
from server.model.heads.held import HeldParameters
from server.model.heads.pooling import PoolingHead

logger = logging.getLogger(__name__)

_NUM_PROBED = 7919  # a number of labels that no other size of a model is
_CLASSIFIED = (TaskType.SEQ_CLS, TaskType.TOKEN_CLS, TaskType.QUESTION_ANS)


class Heads(Mapping[TaskType, HeadShapes]):
    """The task types with a head that the base model can have, with the shapes of their parameters.

    Shapes are found when they are asked for: building a class takes a moment. `config` is the base model's
    configuration as it is stored; heads are built on `device`.
    """

    def __init__(
        self, config: PreTrainedConfig, kind: BaseKind, held: HeldParameters, device: torch.device | None = None
    ) -> None:
        self._config = config
        self._kind = kind
        self._held = held
        self._device = torch.device("cpu") if device is None else device
        self._shapes: dict[TaskType, HeadShapes | None] = {}
        self._classes: dict[tuple[TaskType, int], PreTrainedModel] = {}

    def __getitem__(self, task_type: TaskType) -> HeadShapes:
        """The shapes of one. Raises KeyError where transformers has no such class, or cannot build it."""
        if task_type not in self._shapes:
            self._shapes[task_type] = self._find_shapes(task_type)
        shapes = self._shapes[task_type]
        if shapes is None:
            raise KeyError(task_type)
        return shapes

    def __iter__(self) -> Iterator[TaskType]:
        return iter([task_type for task_type in TaskType if task_type in self])

    def __len__(self) -> int:
        return len(list(iter(self)))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels that the base model's configuration names; none where they are transformers' placeholders."""
        named: Any = self._config.id2label or {}
        labels = tuple(str(named[number]) for number in range(len(named)) if number in named)
        return () if labels == placeholders(len(labels)) else labels

    @property
    def problem_type(self) -> ProblemType | None:
        """The kind of classification that the base model's configuration names, if transformers knows it."""
        named = getattr(self._config, "problem_type", None)
        return ProblemType(named) if named in tuple(ProblemType) else None

    def held(self, name: str, backbone: str) -> torch.Tensor | None:
        """A parameter of a head that the base model's own files hold, by its name in transformers' class; None if none.

        `backbone` is the name of the backbone in that class.
        """
        return None if self._held.shape(name, backbone) is None else self._held.read(name, backbone)

    def build(self, checkpoint: Checkpoint, manifest: Manifest) -> Head:
        """The head of a version whose checkpoint passed the checks of the store. Raises `ModelError`."""
        task_type = checkpoint.task_type
        assert task_type is not None
        if task_type is TaskType.FEATURE_EXTRACTION:
            default = Pooling.LAST if self._kind is BaseKind.DECODER else Pooling.MEAN
            return PoolingHead(Pooling(manifest.pooling or default))
        model = self._filled(task_type, checkpoint)
        is_last = task_type is TaskType.SEQ_CLS and self._kind is BaseKind.DECODER
        takes_ids = LAYOUTS[checkpoint.peft_type].kind is TensorKind.KEY_VALUES
        pad_token_id = self._config.get_text_config().pad_token_id
        return ClassHead(
            model,
            task_type,
            Rows.LAST if is_last else Rows.ALL,
            # With keys and values PEFT hands over token ids, with embeddings none: then nothing is seen as padding.
            pad_token_id if is_last and takes_ids else None,
        )

    def _filled(self, task_type: TaskType, checkpoint: Checkpoint) -> PreTrainedModel:
        values = head_values(checkpoint)
        num_labels = count_labels({name: array.shape for name, array in values.items()}, self[task_type], task_type)
        model = copy.deepcopy(self._class(task_type, num_labels or 2))
        for name, _ in list(model.named_parameters()):
            if name in values:
                tensor = torch.from_numpy(values[name].copy())
            else:
                tensor = self._held.read(name, model.base_model_prefix)
            parent, _, own = name.rpartition(".")
            parameter = torch.nn.Parameter(tensor.to(self._device, torch.float32), requires_grad=False)
            setattr(model.get_submodule(parent), own, parameter)
        return model

    def _class(self, task_type: TaskType, num_labels: int) -> PreTrainedModel:
        key = (task_type, num_labels)
        if key not in self._classes:
            with foreign_errors(UnsupportedArchitecture, f"there is no head for {task_type}"):
                self._classes[key] = build_class(self._config, task_type, num_labels)
        return self._classes[key]

    def _find_shapes(self, task_type: TaskType) -> HeadShapes | None:
        if task_type is TaskType.FEATURE_EXTRACTION:
            return HeadShapes()
        if task_type not in _CLASSIFIED or not has_class(self._config, task_type):
            return None
        try:
            model = self._class(task_type, 2 if task_type is TaskType.QUESTION_ANS else _NUM_PROBED)
        except UnsupportedArchitecture as error:
            logger.info("the base model takes no tasks for %s: %s", task_type, error)
            return None
        shapes = {
            name: tuple(None if size == _NUM_PROBED else size for size in parameter.shape)
            for name, parameter in model.named_parameters()
        }
        found = {name: self._held.shape(name, model.base_model_prefix) for name in shapes}
        held = {name: shape for name, shape in found.items() if shape is not None and _fits(shape, shapes[name])}
        return HeadShapes(shapes, held)


def placeholders(num_labels: int) -> tuple[str, ...]:
    """The names that transformers gives to labels that nobody named."""
    return tuple(f"LABEL_{number}" for number in range(num_labels))


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )
