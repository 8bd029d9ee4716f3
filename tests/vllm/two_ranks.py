"""Two tensor-parallel ranks compared with PEFT: `python -m tests.vllm.two_ranks`. The workers are processes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.vllm.engines import Engine
from tests.vllm.worlds import make_world


def main() -> None:
    """Print one JSON object: the exact and all cases of each part."""
    with tempfile.TemporaryDirectory() as folder:
        world = make_world("llama", Path(folder))
        engine = Engine(world, tensor_parallel_size=2)
        cases = engine.cases()
        parts = {}
        engine.capture(world.tasks)
        parts["mixed"] = engine.num_exact(cases)
        engine.llm.reset_prefix_cache()
        parts["after a reset of the prefix cache"] = engine.num_exact(cases)
        assert engine.llm.reset_prefix_cache(reset_connector=True)
        engine.capture(world.tasks)
        parts["after a reset of the connector"] = engine.num_exact(cases)
        print(json.dumps(parts), flush=True)


if __name__ == "__main__":
    main()
