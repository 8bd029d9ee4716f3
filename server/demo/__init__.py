"""The bundled demo: a tiny base model and the soft prompts of several tasks. Importing this package loads nothing.

The scripts that made them are in `demo/`, which is not installed.
"""

from __future__ import annotations

from pathlib import Path

BASE_NAME = "softprompt-demo"
"""The name the bundled base model is served under, and the one its checkpoints bear."""

BASE_DIR: Path = Path(__file__).parent / "base"
"""A ``transformers`` model folder: fp16 weights, configuration and tokenizer."""

TASKS_DIR: Path = Path(__file__).parent / "tasks"
"""One folder a task: ``adapter_config.json``, ``adapter_model.safetensors`` and ``manifest.json``."""

TEMPLATE = " {input} ->\n"
"""How every task's input becomes a prompt: the leading space makes it tokenize as it did after an instruction."""
