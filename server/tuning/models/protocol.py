"""What the trainer asks of a model: micro-batches of examples, their gradients, and their losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from server.tuning.encoding import EncodedExample

if TYPE_CHECKING:  # it imports PEFT, without which a server starts
    from server.tuning.models.soft_prompt import SoftPrompt


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Loss in nats of each target, and whether it is the most likely one, each `[num_targets]`."""

    losses: torch.Tensor
    is_right: torch.Tensor


class Batch(Protocol):
    """Examples that one forward pass computes together.

    `owners` `[num_targets]` has the index of each target's example among the `num_examples` of the batch.
    """

    @property
    def owners(self) -> torch.Tensor: ...  # noqa: D102 - see the class
    @property
    def num_examples(self) -> int: ...  # noqa: D102 - see the class


BatchT = TypeVar("BatchT", bound=Batch)


class TuningModel(Protocol[BatchT]):
    """A soft prompt, perhaps with a head, and the frozen base model. There is no dropout.

    `prompt` has the parameters, on `device`.
    """

    @property
    def prompt(self) -> SoftPrompt: ...  # noqa: D102 - see the class
    @property
    def device(self) -> torch.device: ...  # noqa: D102 - see the class

    def batches(self, examples: Sequence[EncodedExample]) -> Iterator[BatchT]:
        """Sort examples by length, and cut them into micro-batches of the plan's size."""

    def backward(self, batch: BatchT, scale: float) -> float:
        """Add the gradient of `scale` times the summed loss to the parameters'. Returns the summed loss, in nats."""

    def judge(self, batch: BatchT) -> Judged:
        """Compute the loss and the correctness of each target, without gradients."""
