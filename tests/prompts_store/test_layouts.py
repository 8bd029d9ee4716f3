"""The table of PEFT types."""

from __future__ import annotations

from prompts_store.checkpoint.layouts import LAYOUTS, Counts
from prompts_store.checkpoint_records import PeftType
from tests.fakes.checkpoints import BASE


def test_every_peft_type_has_a_layout():
    """A type that the store names can be read."""
    assert set(LAYOUTS) == set(PeftType)


def test_the_names_of_a_types_tensors_are_those_of_its_shapes():
    """What is converted is what is read."""
    for layout in LAYOUTS.values():
        assert set(layout.tensor_names) == set(layout.shapes(Counts(4, 2, 1), BASE))
