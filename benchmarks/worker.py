"""A contender's process: one line of JSON in, one line out. Started by `benchmarks.process`.

The first line is the setup, each further one a workload. An answer is `{"ok": …}` or `{"error": …}`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from dataclasses import asdict
from typing import Any, cast

from benchmarks.contender import Contender, Setup, setup_from_json, workload_from_json

CONTENDERS = {
    "peft": "benchmarks.contenders.peft_each:PeftEachContender",
    "peft-batched": "benchmarks.contenders.peft_batched:PeftBatchedContender",
    "transformers": "benchmarks.contenders.transformers_batching:TransformersBatchingContender",
    "vllm": "benchmarks.contenders.vllm_engine:VllmContender",
    "llama.cpp": "benchmarks.contenders.llama_cpp:LlamaCppContender",
    "engine": "benchmarks.contenders.engine:EngineContender",
    "aborting": "benchmarks.contenders.aborting:AbortingContender",
    "http": "benchmarks.contenders.http_server:HttpContender",
}


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    contender: Contender | None = None
    for line in sys.stdin:
        try:
            message = json.loads(line)
            if contender is None:
                contender = _build(setup_from_json(message))
                answer: Any = None
            else:
                answer = asdict(contender.run(workload_from_json(message)))
        except Exception as error:  # the process edge: the benchmark reports what failed and goes on without it
            traceback.print_exc()
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        else:
            answers.write(json.dumps({"ok": answer}) + "\n")
    if contender is not None:
        contender.close()


def _build(setup: Setup) -> Contender:
    module, _, name = CONTENDERS[setup.contender].partition(":")
    return cast(Contender, getattr(importlib.import_module(module), name)(setup))


if __name__ == "__main__":
    main()
