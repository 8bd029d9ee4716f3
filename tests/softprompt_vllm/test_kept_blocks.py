"""The soft prompts that one worker keeps. The meta device stands for a GPU."""

from __future__ import annotations

import torch

from softprompt_vllm.kept_blocks import KeptBlocks

CPU = torch.device("cpu")


def test_on_a_cpu_nothing_is_kept_twice():
    """Host and device are one memory."""
    kept = KeptBlocks(1000)
    blocks = {"layer": torch.ones(10)}
    kept.keep("a", blocks)
    assert kept.get("a", CPU) is blocks
    assert (kept.num_host_bytes, kept.num_device_bytes) == (40, 0)


def test_copies_on_the_device_are_bounded():
    """The least recently used copy goes; the host has all."""
    kept = KeptBlocks(80)
    meta = torch.device("meta")
    kept._host = {name: {"layer": torch.ones(10)} for name in "abc"}
    for name in "abac":
        assert kept.get(name, meta)["layer"].device == meta
    assert list(kept._device) == ["a", "c"]
    assert (kept.num_host_bytes, kept.num_device_bytes) == (120, 80)
    kept.drop("ac")
    assert (kept.num_host_bytes, kept.num_device_bytes) == (40, 0)
    assert "b" in kept and "a" not in kept


def test_what_is_larger_than_all_copies_is_read_from_the_host():
    """It pushes no other copy out."""
    kept = KeptBlocks(39)
    kept._host = {"a": {"layer": torch.ones(10)}}
    assert kept.get("a", torch.device("meta"))["layer"].device == CPU
    assert kept.num_device_bytes == 0
