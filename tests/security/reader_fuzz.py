"""What a coverage-guided fuzzer makes of good checkpoints: read, or refused as what it is.

With Atheris (extra `fuzz`): `python -m tests.security.reader_fuzz -runs=1000000`, or any other options of libFuzzer.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from tests.fakes.checkpoints import BASE, prompt_tuning_files

MAX_REFUSAL_S = 0.1  # of this process, whatever else the machine does
_READERS = ("checkpoint_reader", "config_reader", "safetensors_format", "strict_json", "prefix")


def read_one(data: bytes) -> None:
    """Read the tensors behind a good configuration, or the configuration itself; only a refusal may come of it."""
    reader: Any = import_module("prompts_store.checkpoint.reader")
    errors: Any = import_module("prompts_store.errors")
    good = prompt_tuning_files()
    is_config = data[:1] >= b"\x80"
    config, tensors = (data[1:], good["adapter_model"]) if is_config else (good["adapter_config"], data[1:])
    began = time.process_time()
    with suppress(errors.InvalidCheckpoint):
        reader.read_checkpoint(
            config, tensors, BASE, task_index=None, allow_base_mismatch=False, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
        )
    assert time.process_time() - began < MAX_REFUSAL_S


def corpus() -> list[bytes]:
    """Good files to begin with."""
    good = prompt_tuning_files()
    return [b"\x00" + good["adapter_model"], b"\xff" + good["adapter_config"]]


def main() -> None:
    """Fuzz by coverage, until the options of libFuzzer say so."""
    import atheris

    for name in [name for name in sys.modules if name.startswith("prompts_store.")]:
        del sys.modules[name]  # so that they are imported anew, with their branches counted
    with atheris.instrument_imports(include=[f"prompts_store.{name}" for name in _READERS]):
        import_module("prompts_store.checkpoint.reader")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(corpus()):
            (Path(folder) / str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], folder, *sys.argv[1:]], read_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
