"""A head beside a prompt: the tensors that `modules_to_save` adds to `adapter_model.safetensors`.

PEFT writes the parameter `classifier.weight` as `base_model.classifier.weight`; that name is stored. Older releases
and other wrappers wrote `base_model.model.` before it, or the name of the adapter within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint.safetensors_format import listed
from prompts_store.checkpoint_records import Checkpoint, HeadShapes, TaskType
from prompts_store.errors import MalformedConfig, MalformedTensors, ShapeMismatch

HEAD_PREFIX = "base_model."
_WRAPPER = re.compile(r"modules_to_save\.([^.]+\.)?|original_module\.|(?<=\.)default\.")
_PEFTS_OWN = ("classifier", "score", "qa_outputs")
"""The parts that PEFT always lists, whether the model has them or not."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HeadTensors:
    """The tensors of a head in a file: `names` as they are stored and `shapes`, both by the name in the file.

    `num_labels` is the size of the answer, None for a task type without a head of its own.
    """

    names: Mapping[str, str]
    shapes: Mapping[str, Shape]
    num_labels: int | None


def check_saved_modules(names: object, head: HeadShapes, task_type: TaskType) -> None:
    """Raise MalformedConfig unless `modules_to_save` names parts of the head alone."""
    if not isinstance(names, list | None) or not all(isinstance(name, str) for name in names or ()):
        raise MalformedConfig("modules_to_save is not a list of texts.", param="adapter_config")
    parts = {name.rsplit(".", depth)[0] for name in head.shapes for depth in range(1, name.count(".") + 1)}
    for name in names or ():
        if name not in _PEFTS_OWN and not any(f".{part}".endswith(f".{name}") for part in parts):
            allowed = ", ".join(sorted(parts)) or "nothing"
            message = (
                f"modules_to_save lists a part of the base model, which is frozen; for {task_type} it may list "
                f"{allowed}. Train without the others."
            )
            raise MalformedConfig(message, param="adapter_config")


def find_head(found: Mapping[str, Shape], prompt: Iterable[str], head: HeadShapes, task_type: TaskType) -> HeadTensors:
    """Sort the tensors of a file besides those of the `prompt` into the parameters of a head.

    Raises MalformedTensors for a tensor that is none of them and for a parameter that neither the file nor the base
    model holds, and ShapeMismatch.
    """
    names: dict[str, str] = {}
    unexpected = []
    for name in sorted(found.keys() - set(prompt)):
        parameter = _parameter(name, head)
        if parameter is None or parameter in names.values():
            unexpected.append(name)
        else:
            names[name] = parameter
    if unexpected:
        allowed = ", ".join((*prompt, *(HEAD_PREFIX + own for own in head.shapes)))
        message = (
            f"The file has unexpected tensors ({listed(unexpected)}); a checkpoint for {task_type} may have only "
            f"{allowed}. Save the soft prompt and its head alone, with PEFT's save_pretrained, for the base model here."
        )
        raise MalformedTensors(message, param="adapter_model")
    given = {parameter: found[name] for name, parameter in names.items()}
    num_labels = count_labels(given, head, task_type)
    shapes = {name: _fixed(head.shapes[parameter], num_labels) for name, parameter in names.items()}
    return HeadTensors({name: HEAD_PREFIX + parameter for name, parameter in names.items()}, shapes, num_labels)


def head_values(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of a stored head, by their names in transformers' class."""
    named = (tensor for tensor in checkpoint.tensors if tensor.name.startswith(HEAD_PREFIX))
    return {tensor.name.removeprefix(HEAD_PREFIX): tensor.values for tensor in named}


def count_labels(given: Mapping[str, Sequence[int]], head: HeadShapes, task_type: TaskType) -> int | None:
    """Return the number of labels of a head whose parameters have the shapes `given`, or those that the base holds.

    Raises MalformedTensors for a parameter that neither has, and ShapeMismatch where they contradict each other.
    """
    counts: set[int] = set()
    for name, expected in head.shapes.items():
        shape = given.get(name, head.held.get(name))
        if shape is None:
            message = (
                f"{HEAD_PREFIX}{name} is missing: neither the checkpoint nor the base model holds this parameter of "
                f"the head for {task_type}. Save it with the soft prompt, by modules_to_save."
            )
            raise MalformedTensors(message, param="adapter_model")
        if len(shape) == len(expected):
            counts.update(size for size, wanted in zip(shape, expected, strict=True) if wanted is None)
    if not head.shapes:
        return None
    if task_type is TaskType.QUESTION_ANS:
        return 2  # the beginning and the end of the answer
    if len(counts) != 1 or not min(counts):
        raise ShapeMismatch("The parameters of the head have different numbers of labels.", param="adapter_model")
    return counts.pop()


def _parameter(name: str, head: HeadShapes) -> str | None:
    """Return the parameter that a tensor of this name is; None for none."""
    if not name.startswith(HEAD_PREFIX):
        return None
    plain = name.removeprefix(HEAD_PREFIX)
    for candidate in (plain, _WRAPPER.sub("", plain)):
        for parameter in (candidate, candidate.removeprefix("model.")):
            if parameter in head.shapes:
                return parameter
    return None


def _fixed(shape: Sequence[int | None], num_labels: int | None) -> Shape:
    return tuple((num_labels or 0) if size is None else size for size in shape)
