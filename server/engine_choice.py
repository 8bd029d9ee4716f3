"""The engine that the settings choose, with the base model that it serves. No other room knows which it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from prompts_store.checkpoint_records import BaseKind, BaseModel
from server.base_model_source import LoadedBase, Origin, load_base
from server.engine.client import EngineClient, PieceRunner
from server.engine.events import EngineObserver
from server.engine.thread.async_engine import AsyncEngine
from server.engine_setup import build_engine
from server.model.base_model import LoadedModel
from server.model.heads.heads import Heads
from server.settings import ServeSettings
from server.soft_prompts.live_captures import Capturer
from server.structured_outputs.compiler import ConstraintCompiler
from server.tokenizer.token_table import describe
from server.tokenizer.tokenizer import Tokenizer

NO_TUNING_WITH_VLLM = (
    "this server runs on vLLM's engine, which cannot tune: start it with --tuning-python, or create the job on a "
    "server with --engine own over the same database"
)

NO_TUNING_ON_WEIGHTS = (
    "this server's weights are {0}, and nothing is tuned on them: create the job on a server without --weights {0} "
    "over the same database"
)
"""Takes the form of `--weights`."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnEngine:
    """Our engine, which also runs pieces of training on the weights that it serves."""

    loaded: LoadedBase
    engine: AsyncEngine
    eos_token_ids: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """What tuning jobs need of an engine: its weights, and who runs pieces on its device."""

    loaded: LoadedModel
    pieces: PieceRunner


@dataclass(frozen=True, slots=True, eq=False)
class ChosenEngine:
    """An engine, not started yet, and what the server knows of its base model.

    `vector_size` is the width of the hidden states that it returns. `tuning` is None where `no_tuning` says why.
    `constraints` compiles the forms of answers. The engine's library has metrics of its own,
    whose names begin with `metrics_prefix`, unless that is empty. `capturer` is the same engine, if soft prompts
    are to be made ready ahead of use. `weights` is the form of the weights that are served; None where vLLM's arguments
    say it.
    """

    name: Literal["own", "vllm"]
    engine: EngineClient
    base: BaseModel
    heads: Heads
    tokenizer: Tokenizer
    eos_token_ids: frozenset[int]
    generation_config: object
    device: str
    vector_size: int
    constraints: ConstraintCompiler
    tuning: Tuning | None
    no_tuning: str = ""
    metrics_prefix: str = ""
    capturer: Capturer | None = None
    weights: str | None = None


def choose_engine(settings: ServeSettings, origin: Origin, observers: Sequence[EngineObserver]) -> ChosenEngine:
    """Build the engine. `observers` see every request that it accepts. Raises `ModelError` and `TextError`."""
    if settings.engine == "vllm":
        return _choose_vllm(settings, origin, observers)
    own = own_engine(settings, origin, observers)
    base, model = own.loaded.base, own.loaded.model
    return ChosenEngine(
        "own",
        own.engine,
        base,
        own.loaded.heads,
        own.loaded.tokenizer,
        own.eos_token_ids,
        getattr(model.model, "generation_config", None),
        str(model.device),
        # An encoder's words may be narrower than the hidden states that it returns.
        model.model.config.hidden_size if base.kind is BaseKind.ENCODER else base.hidden_size,
        ConstraintCompiler(partial(describe, own.loaded.tokenizer, model.architecture.vocab_size, own.eos_token_ids)),
        Tuning(model, own.engine) if model.quantised_to is None else None,
        "" if model.quantised_to is None else NO_TUNING_ON_WEIGHTS.format(model.quantised_to),
        weights=model.weights,
    )


def own_engine(settings: ServeSettings, origin: Origin, observers: Sequence[EngineObserver] = ()) -> OwnEngine:
    """Load the base model into our engine. Raises `ModelError` and `TextError`."""
    loaded = load_base(settings, origin)
    eos_token_ids = loaded.tokenizer.eos_token_ids(loaded.model.eos_token_ids)
    engine = build_engine(settings, loaded.model, loaded.attention, eos_token_ids, observers)
    return OwnEngine(loaded, engine, eos_token_ids)


def _choose_vllm(settings: ServeSettings, origin: Origin, observers: Sequence[EngineObserver]) -> ChosenEngine:
    from server.vllm_setup import build_vllm_engine  # it needs what our own engine does without

    built = build_vllm_engine(settings, origin, observers)
    read = built.read
    return ChosenEngine(
        "vllm",
        built.engine,
        read.base,
        read.heads,
        built.tokenizer,
        built.eos_token_ids,
        read.generation_config,
        built.device,
        read.base.hidden_size,
        ConstraintCompiler(partial(describe, built.tokenizer, built.vocab_size, built.eos_token_ids)),
        tuning=None,
        no_tuning=NO_TUNING_WITH_VLLM,
        metrics_prefix="vllm:",
        capturer=built.engine if settings.capture_on_promote else None,
    )
