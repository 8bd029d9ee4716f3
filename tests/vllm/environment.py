"""Variables that vLLM's processes read in tests. Importing this imports nothing of vLLM."""

import os

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
WITHOUT_COMPILER = ENVIRONMENT | {"TORCHDYNAMO_DISABLE": "1"}
"""vLLM compiles the ranks of log-probabilities even in eager mode, which takes longer than the tests."""
