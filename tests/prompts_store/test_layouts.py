"""The table of PEFT types."""

from __future__ import annotations

from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.records import PeftType


def test_every_peft_type_has_a_layout():
    """A type that the store names can be read."""
    assert set(LAYOUTS) == set(PeftType)
