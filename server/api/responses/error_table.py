"""The one table from exceptions to HTTP. A class that is not in it has the entry of its nearest base class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import prompts_store.batch_errors as batches
import prompts_store.errors as store
import prompts_store.tuning_errors as jobs
from server.api import errors as api
from server.engine import errors as engine
from server.structured_outputs import errors as structured
from server.threads import ThreadsBusy
from server.tokenizer import errors as text
from server.tuning import errors as tuning

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP answer to a class of exceptions.

    `code` None takes the exception's own code. `message` None takes the exception's text; only our own classes, whose
    messages are written for the caller, may do so.
    """

    status: int
    code: str | None = None
    param: str | None = None
    type: str = INVALID_REQUEST
    message: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


INTERNAL_ERROR = Answer(500, "internal_error", type=SERVER_ERROR, message="the server failed to answer this request")
_NO_RETRY = (("x-should-retry", "false"),)
"""The `openai` client obeys this header; without it, the client retries twice after a conflict."""
_RETRY_SOON = (("Retry-After", "1"), ("x-should-retry", "true"))

ERROR_TABLE: Mapping[type[Exception], Answer] = {
    api.InvalidRequest: Answer(400),
    api.ModelNotFound: Answer(404),
    api.Unauthorized: Answer(401, type="authentication_error", headers=(("WWW-Authenticate", "Bearer"),)),
    api.Forbidden: Answer(403, type="permission_error"),
    api.RateLimited: Answer(429, type="rate_limit_error", headers=_RETRY_SOON),
    api.QuotaTooSmall: Answer(400),
    api.Overloaded: Answer(503, type=SERVER_ERROR, headers=_RETRY_SOON),
    api.DeadlineExceeded: Answer(503, type=SERVER_ERROR, headers=_NO_RETRY),
    api.UploadTooLarge: Answer(413),
    api.StorageFull: Answer(507, type=SERVER_ERROR),
    api.UnsupportedMediaType: Answer(415),
    api.TaskReadOnly: Answer(409),
    api.PreconditionRequired: Answer(428),
    api.NotReady: Answer(503, type=SERVER_ERROR, headers=_RETRY_SOON),
    api.ServerDraining: Answer(503, type=SERVER_ERROR, headers=(*_RETRY_SOON, ("x-should-retry", "true"))),
    engine.PromptEmpty: Answer(400, "prompt_empty", "prompt"),
    engine.TokenOutOfRange: Answer(400, "token_out_of_range"),
    engine.ContextExceeded: Answer(400, "context_exceeded"),
    engine.PrefixTooLarge: Answer(400, "prefix_too_large", "model"),
    engine.RequestRefused: Answer(400, "request_refused"),
    engine.EngineOverloaded: Answer(
        429,
        "engine_overloaded",
        type="rate_limit_error",
        message="too many requests are waiting (--max-waiting); try again later",
        headers=_RETRY_SOON,
    ),
    engine.EngineStopped: Answer(
        503, "engine_stopped", type=SERVER_ERROR, message="the engine is not running", headers=_RETRY_SOON
    ),
    engine.NumbersOverflow: Answer(422, "numbers_overflow", "model"),
    engine.StructureFailed: Answer(422, "structure_failed"),
    engine.EngineError: Answer(500, "engine_failed", type=SERVER_ERROR, message="the engine failed on this request"),
    structured.ConstraintRefused: Answer(400, "invalid_value"),
    structured.CompilerBusy: Answer(503, "compiler_busy", type=SERVER_ERROR, headers=_RETRY_SOON),
    tuning.PlanRefused: Answer(400, "invalid_value"),
    text.ChatRefused: Answer(400, "chat_refused", "messages"),
    text.UnknownToken: Answer(400, "token_out_of_range"),
    store.NotFound: Answer(404),
    store.Conflict: Answer(409),
    jobs.JobStatusConflict: Answer(409, headers=_NO_RETRY),
    jobs.FileInUse: Answer(409, headers=_NO_RETRY),
    batches.BatchStatusConflict: Answer(409, headers=_NO_RETRY),
    batches.BatchQueueFull: Answer(
        429, type="rate_limit_error", headers=(("Retry-After", "30"), ("x-should-retry", "true"))
    ),
    jobs.QueueFull: Answer(429, type="rate_limit_error", headers=(("Retry-After", "30"), ("x-should-retry", "true"))),
    store.PreconditionFailed: Answer(412),
    store.InvalidName: Answer(400),
    store.InvalidKey: Answer(400),
    store.InvalidTargets: Answer(400, param="targets"),
    store.InvalidMembers: Answer(400, param="members"),
    store.InvalidManifest: Answer(400),
    store.InvalidCheckpoint: Answer(400),
    store.CheckpointTooLarge: Answer(413),
    store.ValueTooLarge: Answer(413),
    ThreadsBusy: Answer(
        503,
        type=SERVER_ERROR,
        message="too many requests are waiting for the store; try again later",
        headers=_RETRY_SOON,
    ),
    store.StoreUnavailable: Answer(
        503, type=SERVER_ERROR, message="the store cannot be reached; try again later", headers=_RETRY_SOON
    ),
    store.StoreError: Answer(500, type=SERVER_ERROR, message="the store failed on this request"),
}


def answer_to(error: BaseException) -> Answer:
    """The entry of an exception's class, or of the nearest of its bases; `INTERNAL_ERROR` for a foreign one."""
    return next((ERROR_TABLE[cls] for cls in type(error).__mro__ if cls in ERROR_TABLE), INTERNAL_ERROR)
