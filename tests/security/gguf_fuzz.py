"""What a coverage-guided fuzzer makes of a good GGUF file: its header is read, or refused in words of ours.

With Atheris (extra `fuzz`): `python -m tests.security.gguf_fuzz -runs=1000000`, or any other options of libFuzzer.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.fakes.gguf_files import write_gguf

MAX_REFUSAL_S = 0.1  # of this process, whatever else the machine does
_MODULES = ("server.model.gguf.header", "server.model.gguf.base_file")


def read_one(path: Path, data: bytes) -> None:
    """Read the file and check it as a base model; only a refusal may come of it, and soon."""
    path.write_bytes(data)
    base_file: Any = import_module("server.model.gguf.base_file")
    errors: Any = import_module("server.model.errors")
    began = time.process_time()
    with suppress(errors.BaseModelUnavailable):
        base_file.public_name(str(path), base_file.read_base_file(str(path)))
    assert time.process_time() - began < MAX_REFUSAL_S


def main() -> None:
    """Fuzz by coverage, until the options of libFuzzer say so."""
    import atheris

    for name in _MODULES:
        sys.modules.pop(name, None)  # so that they are imported anew, with their branches counted
    with atheris.instrument_imports(include=list(_MODULES)):
        import_module("server.model.gguf.base_file")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        write_gguf(corpus / "good")
        mutant = Path(folder) / "mutant.gguf"
        atheris.Setup([sys.argv[0], str(corpus), "-max_len=40000", *sys.argv[1:]], lambda data: read_one(mutant, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
