"""vLLM's engine as the settings describe it: its base model, its arguments, and the proof at start."""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts_store.checkpoint_records import BaseKind
from server.base_model_source import Origin, ReadBase, load_tokenizer, read_base
from server.engine.events import EngineObserver
from server.engine.vllm.engine import VllmEngine
from server.engine.vllm.engine_args import engine_args
from server.engine.vllm.options import VllmOptions
from server.engine.vllm.proof import prove
from server.model.base_model import choose_device, dtype_name
from server.model.errors import EngineUnavailable, UnsupportedArchitecture
from server.model.gguf.base_file import is_gguf
from server.model.memory import cpu_cache_bytes
from server.settings import ServeSettings
from server.tokenizer.tokenizer import Tokenizer
from server.vllm_args import parse_args
from softprompt_vllm.requests import new_capture_key, transfer_config

if TYPE_CHECKING:
    from server.engine.vllm.start import VllmBackend

logger = logging.getLogger(__name__)

_GIB = 1024**3
_NOT_INSTALLED = (
    "vLLM is not installed in this virtual environment: `make vllm` makes one that has it, and "
    "`.venv-vllm/bin/softprompt serve --engine vllm` runs there"
)


@dataclass(frozen=True, slots=True, eq=False)
class BuiltVllm:
    """The engine, not started yet, and its base model."""

    engine: VllmEngine
    read: ReadBase
    tokenizer: Tokenizer
    eos_token_ids: frozenset[int]
    vocab_size: int
    device: str


def build_vllm_engine(settings: ServeSettings, origin: Origin, observers: Sequence[EngineObserver]) -> BuiltVllm:
    """Start vLLM and prove the base model. Raises `ModelError` and `TextError`."""
    if importlib.util.find_spec("vllm") is None:
        raise EngineUnavailable(_NOT_INSTALLED)
    _check_llguidance()
    device = _check_device(settings.device)
    if is_gguf(origin.source):
        raise UnsupportedArchitecture("a GGUF file is not served with --engine vllm; leave it out")
    read = read_base(settings, origin)
    if read.base.kind is not BaseKind.DECODER:
        raise UnsupportedArchitecture(
            f"the base model is of the kind {read.base.kind}, and --engine vllm serves decoders alone; leave it out"
        )
    _set_environment(settings, origin, device)
    key, folder = new_capture_key(), _make_folder()
    max_prefix_bytes = int(settings.vllm_prefix_gib * _GIB)
    transfer = transfer_config(folder, capture_key=key, max_host_bytes=max_prefix_bytes, front_end_pid=os.getpid())
    from server.engine.vllm.start import VllmBackend

    backend = VllmBackend(
        engine_args(_own_args(settings, origin, read, device), transfer, parse_args(settings.vllm_args))
    )
    try:
        engine, tokenizer, eos_token_ids = _build(settings, origin, read, backend, key, folder, observers)
    except BaseException:
        backend.close()
        raise
    return BuiltVllm(engine, read, tokenizer, eos_token_ids, backend.facts.vocab_size, device)


def _build(
    settings: ServeSettings,
    origin: Origin,
    read: ReadBase,
    backend: VllmBackend,
    capture_key: str,
    folder: Path,
    observers: Sequence[EngineObserver],
) -> tuple[VllmEngine, Tokenizer, frozenset[int]]:
    tokenizer = load_tokenizer(settings, origin, backend.facts.vocab_size)
    eos_token_ids = tokenizer.eos_token_ids(read.eos_token_ids)
    options = VllmOptions(
        facts=backend.facts,
        eos_token_ids=eos_token_ids,
        max_num_seqs=settings.max_num_seqs,
        max_open_requests=settings.max_waiting + settings.max_num_seqs,
        max_prefix_bytes=int(settings.vllm_prefix_gib * _GIB),
        batch_share=settings.batch_share,
    )
    proof = asyncio.run(prove(backend, capture_key, folder, options.max_prefix_bytes))
    logger.info("proof at start passed: %s", proof)
    engine = VllmEngine(
        backend, options, capture_key, folder, wedged_after_s=settings.engine_timeout_s, observers=observers
    )
    return engine, tokenizer, eos_token_ids


def _check_llguidance() -> None:
    """Raise `EngineUnavailable` for the release that vLLM asks for, which lets space between JSON's parts repeat."""
    if tuple(map(int, version("llguidance").split(".")[:2])) < (1, 8):
        raise EngineUnavailable(
            "llguidance 1.8 or newer is needed in this virtual environment: `make vllm` installs it"
        )


def _own_args(settings: ServeSettings, origin: Origin, read: ReadBase, device: str) -> dict[str, Any]:
    """The arguments of vLLM that options of the server set. None is vLLM's choice."""
    # vLLM would take almost all of the memory of a CPU.
    own_bytes = cpu_cache_bytes() if device == "cpu" else None
    gib = settings.kv_cache_gib
    return {
        "model": origin.source,
        "revision": settings.revision,
        "dtype": dtype_name(read.dtype),
        "max_model_len": read.base.max_context,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_batch_tokens,
        "block_size": settings.block_size if "block_size" in settings.model_fields_set else None,
        "num_gpu_blocks_override": settings.num_kv_blocks,
        "kv_cache_memory_bytes": own_bytes if gib is None else int(gib * _GIB),
        "max_logprobs": max(settings.max_logprobs, 20),
    }


def _check_device(wanted: str) -> str:
    """The device of the installed vLLM, which was built for one kind. Raises `ModelError` where another is wanted."""
    device = choose_device("auto").type
    if wanted not in ("auto", device):
        raise EngineUnavailable(f"vLLM serves on {device} here, and --device is {wanted}; leave it out")
    return device


def _set_environment(settings: ServeSettings, origin: Origin, device: str) -> None:
    """Variables that vLLM reads in all of its processes. What the operator set stays."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # vLLM would report its use to its makers
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # threads run here already
    if settings.log_level != "debug":
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    threads = settings.threads or (1 if origin.is_demo else None)
    if device == "cpu" and threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def _make_folder() -> Path:
    """A folder for keys and values that nobody else can read, until the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="softprompt-vllm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
