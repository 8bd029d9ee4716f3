"""Micro-batches of examples side by side: similar lengths together, padded at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from server.tuning.encoding import EncodedExample


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """Examples side by side, the shortest first.

    `token_ids` and `mask` are `[num_examples, width]`; the mask is 0 on padding. Each target has its value in `targets`
    `[num_targets]` and the index of its example in `owners` `[num_targets]`. `decoder_ids` `[num_examples,
    decoder_width]` are a decoder's inputs, and `rows` `[num_targets]` the rows of the decoder that predict the targets,
    counted over all examples; both are empty without a decoder.
    """

    token_ids: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    decoder_ids: torch.Tensor
    rows: torch.Tensor

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self.token_ids)


def padded_groups(
    examples: Sequence[EncodedExample], fits: Callable[[int, int, int], bool]
) -> Iterator[list[EncodedExample]]:
    """Sort examples by length, and cut them into groups that fit. An example that does not is a group of its own.

    `fits` is asked with the number of examples, and with the lengths of the longest prompt and completion.
    """
    group: list[EncodedExample] = []
    longest_prompt = longest_completion = 0
    for example in sorted(examples, key=lambda example: (len(example.prompt), len(example.completion))):
        longest_prompt = max(longest_prompt, len(example.prompt))
        longest_completion = max(longest_completion, len(example.completion))
        if group and not fits(len(group) + 1, longest_prompt, longest_completion):
            yield group
            group = []
            longest_prompt, longest_completion = len(example.prompt), len(example.completion)
        group.append(example)
    if group:
        yield group


def labelled_batch(group: Sequence[EncodedExample], padding: int, device: torch.device) -> PaddedBatch:
    """A batch whose targets are the labels of the examples."""
    token_ids, mask = _padded([example.prompt for example in group], padding, device)
    targets = torch.tensor([_label(example) for example in group], device=device)
    nothing = token_ids.new_zeros(len(group), 0)
    return PaddedBatch(token_ids, mask, targets, torch.arange(len(group), device=device), nothing, nothing.flatten())


def decoded_batch(
    group: Sequence[EncodedExample],
    padding: int,
    device: torch.device,
    decoder_inputs: Callable[[tuple[int, ...]], tuple[int, ...]],
) -> PaddedBatch:
    """A batch whose targets are completion tokens, predicted by the last rows of `decoder_inputs` of the completion."""
    token_ids, mask = _padded([example.prompt for example in group], padding, device)
    inputs = [decoder_inputs(example.completion) for example in group]
    decoder_ids, _ = _padded(inputs, padding, device)
    width = decoder_ids.shape[1]
    rows: list[int] = []
    owners: list[int] = []
    for index, (example, ids) in enumerate(zip(group, inputs, strict=True)):
        end = index * width + len(ids)
        rows += range(end - len(example.completion), end)
        owners += [index] * len(example.completion)
    targets = [token for example in group for token in example.completion]
    target_ids, target_owners, target_rows = (torch.tensor(one, device=device) for one in (targets, owners, rows))
    return PaddedBatch(token_ids, mask, target_ids, target_owners, decoder_ids, target_rows)


def _label(example: EncodedExample) -> int:
    assert example.label is not None
    return example.label


def _padded(texts: Sequence[tuple[int, ...]], padding: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask `[num_texts, width]` of texts padded at the end."""
    width = max(map(len, texts))
    ids = [[*text, *[padding] * (width - len(text))] for text in texts]
    mask = [[1] * len(text) + [0] * (width - len(text)) for text in texts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
