"""Conversion of a client's tuning job into a stored one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prompts_store.base_names import is_base_name
from prompts_store.errors import InvalidName
from prompts_store.manifest import Manifest, parse_manifest
from prompts_store.names import check_not_reserved, task_name_of
from prompts_store.tuning_records import NewJob
from server.api.errors import InvalidRequest, ModelNotFound
from server.api.management.store_access import StoreAccess
from server.api.management.tuning_bodies import FILE_ID
from server.api.wire.tuning import CreateJob, Hyperparameters, PreviewJob
from server.jobs.request import JobRequest, TuningDefaults, request_to_json
from server.tokenizer.errors import UnknownToken
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.plan import plan_distillation, version_defaults
from server.tuning.distillation.questions import read_document
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import init_text_ids
from server.tuning.errors import PlanRefused
from server.tuning.fit import Host
from server.tuning.gate import Gate
from server.tuning.plan import Initialisation, TuningPlan, new_plan
from server.tuning.task_choice import plan_for
from server.tuning.teaching import DEFAULT_WRITTEN_INPUTS, Distillation


def document_file(body: CreateJob) -> int | None:
    """The number of the file that is a document; None if the job has none. Raises `InvalidRequest`."""
    given = None if body.method is None else body.method.distillation
    return FILE_ID.number(body.training_file) if given is not None and given.document else None


def new_job(
    body: CreateJob,
    store_access: StoreAccess,
    tokenizer: Tokenizer,
    host: Host,
    defaults: TuningDefaults,
    document: bytes = b"",
) -> NewJob:
    """Check everything in a request that can be checked without its files. The job must fit into `host`.

    `document` is the content of `document_file`.

    Raises `ModelNotFound`, `InvalidRequest`, `InvalidName`, `NameReserved`, `TaskReadOnly`, `InvalidManifest` and
    `FileNotFound`.
    """
    _check_model(body, store_access)
    task = _task(body.suffix, store_access)
    seed = body.seed or 0  # the default is that of `softprompt tune`
    distillation, manifest = _distillation(body, document), _manifest(body, defaults)
    teacher = None if distillation is None else Teacher(tokenizer, manifest, distillation)
    plan = _plan(body, seed, host, defaults, teacher)
    if (num_labels := len(manifest.labels)) > (max_labels := store_access.limits.max_labels):
        message = f"there are {num_labels} labels; the maximum is {max_labels} (--max-labels)"
        raise InvalidRequest(message, param="labels")
    if distillation is not None and teacher is not None:
        _check_text(teacher, plan, host)
        manifest = replace(manifest, defaults=manifest.defaults or version_defaults(distillation))
    host.check_defaults(plan, manifest)
    request = JobRequest(
        plan=plan,
        manifest=manifest,
        promote=body.promote,
        gate=_gate(body, distillation),
        metadata=body.metadata or {},
        distillation=distillation,
    )
    _check_tokens(tokenizer, request, _hyperparameters(body)[1])
    training_file = FILE_ID.number(body.training_file)
    validation_file = FILE_ID.number(body.validation_file) if body.validation_file else None
    if validation_file == training_file:
        raise InvalidRequest(
            "validation_file is the training file: send another file, or none", param="validation_file"
        )
    return NewJob(store_access.fingerprint, task, training_file, validation_file, seed, request_to_json(request))


def previewed_request(
    body: PreviewJob,
    base_id: str,
    store_access: StoreAccess,
    tokenizer: Tokenizer,
    host: Host,
    defaults: TuningDefaults,
) -> JobRequest:
    """The request of a job with the settings of a preview. Raises what `new_job` raises for them."""
    job = CreateJob(
        model=base_id if body.model is None else body.model,
        training_file="",
        suffix=None,
        seed=None,
        metadata=None,
        hyperparameters=body.hyperparameters,
        template=body.template,
        add_special_tokens=body.add_special_tokens,
    )
    _check_model(job, store_access)
    request = JobRequest(_plan(job, 0, host, defaults, None), _manifest(job, defaults))
    _check_tokens(tokenizer, request, "hyperparameters")
    return request


def _check_model(body: CreateJob, store_access: StoreAccess) -> None:
    if not is_base_name(body.model, store_access.base_names):
        raise ModelNotFound("model must be the base model's id: only the base model can be tuned")


def _task(suffix: str | None, store_access: StoreAccess) -> str:
    if suffix is None:
        raise InvalidRequest("suffix is missing: send the name of the task to tune", param="suffix")
    try:
        task = task_name_of(suffix)
    except InvalidName as error:
        raise InvalidRequest(str(error), param="suffix") from error
    check_not_reserved(task, store_access.base_names)
    store_access.check_writable(task)
    return task


def _plan(
    body: CreateJob,
    seed: int,
    host: Host,
    defaults: TuningDefaults,
    teacher: Teacher | None,
) -> TuningPlan:
    given, place = _hyperparameters(body)
    fields: dict[str, Any] = given.model_dump(exclude_none=True)
    for name in ("n_epochs", "batch_size", "learning_rate_multiplier"):
        if fields.get(name) == "auto":
            del fields[name]
    if "n_epochs" in fields:
        fields["num_epochs"] = float(fields.pop("n_epochs"))
    fields |= {"seed": seed, "max_micro_batch_tokens": defaults.max_micro_batch_tokens}
    try:
        if teacher is None:
            plan = plan_for(new_plan(fields), host.base.kind)
        else:
            plan = plan_distillation(fields, teacher, host.base.kind)
        host.check_plan(plan)
        return plan
    except PlanRefused as error:
        raise InvalidRequest(str(error), param=_place_of(error.param, place)) from error


def _place_of(param: str, place: str) -> str:
    """Path of a field in the body. `place` is that of the hyperparameters."""
    if param == "type":
        return "method.type"
    if param == "document":
        return "training_file"
    if param in ("instruction", "max_answer_tokens", "num_inputs"):
        return f"method.distillation.{param}"
    return f"{place}.{'n_epochs' if param == 'num_epochs' else param}"


def _distillation(body: CreateJob, document: bytes) -> Distillation | None:
    """The distillation that a body asks for. Raises `InvalidRequest`."""
    method = body.method
    if method is None:
        return None
    other = {"supervised": method.distillation, "distillation": method.supervised}[method.type]
    if other is not None:
        name = "distillation" if method.type == "supervised" else "supervised"
        raise InvalidRequest(f"method.type is {method.type}: leave out {name}", param=f"method.{name}")
    if method.type == "supervised":
        return None
    given = method.distillation
    if given is None:
        raise InvalidRequest("distillation is missing: send its instruction", param="method.distillation")
    if body.labels:
        message = "labels go with labelled examples, and a distillation has inputs alone: name them per request"
        raise InvalidRequest(message, param="labels")
    if (given.instruction is not None) == given.document:
        message = "distillation has an instruction, or document: true for the training file: send one of them"
        raise InvalidRequest(message, param="method.distillation")
    if given.document and body.validation_file:
        message = "the base model asks the questions about a document: leave out validation_file"
        raise InvalidRequest(message, param="validation_file")
    limit = {} if given.max_answer_tokens is None else {"max_answer_tokens": given.max_answer_tokens}
    num_inputs = DEFAULT_WRITTEN_INPUTS if given.document and given.num_inputs is None else given.num_inputs
    try:
        text = read_document(document) if given.instruction is None else given.instruction
        return Distillation(text, **limit, num_inputs=num_inputs, is_document=given.document)
    except PlanRefused as error:
        raise InvalidRequest(str(error), param=_place_of(error.param, "")) from error


def _check_text(teacher: Teacher, plan: TuningPlan, host: Host) -> None:
    """Raise `InvalidRequest` for a text that the base model cannot read, or that leaves no room."""
    try:
        teacher.check_text(host, plan)
    except PlanRefused as error:
        raise InvalidRequest(str(error), param=_place_of(error.param, "")) from error


def _hyperparameters(body: CreateJob) -> tuple[Hyperparameters, str]:
    """The hyperparameters, and their path in the body."""
    name = "supervised" if body.method is None else body.method.type
    of_method = getattr(body.method, name, None)
    newer = None if of_method is None else of_method.hyperparameters
    if newer is not None and body.hyperparameters is not None:
        raise InvalidRequest("method has hyperparameters too: send them in one place", param="hyperparameters")
    if newer is not None:
        return newer, f"method.{name}.hyperparameters"
    return body.hyperparameters or Hyperparameters.model_validate({}), "hyperparameters"


def _manifest(body: CreateJob, defaults: TuningDefaults) -> Manifest:
    own = defaults.manifest if body.template is None else Manifest(template=body.template)
    fields = {
        "template": own.template,
        "chat_template": own.chat_template,
        "add_special_tokens": own.add_special_tokens if body.add_special_tokens is None else body.add_special_tokens,
        "labels": body.labels,
        "stop": body.stop,
        "defaults": body.defaults,
        "note": body.note,
    }
    return parse_manifest(fields)


def _check_tokens(tokenizer: Tokenizer, request: JobRequest, place: str) -> None:
    """Raise `InvalidRequest` for a token without a row in the base model's embeddings: it could not be served."""
    plan, manifest = request.plan, request.manifest
    if plan.initialisation is Initialisation.TEXT:
        try:
            init_text_ids(tokenizer, plan.init_text or "")
        except PlanRefused as error:
            raise InvalidRequest(str(error), param=f"{place}.{error.param}") from error
    labels = () if plan.has_head else manifest.labels  # a head names its outputs by them, and reads none
    for param, texts in (("template", [manifest.template or ""]), ("labels", labels)):
        try:
            for text in texts:
                tokenizer.encode(text, add_special_tokens=False)
        except UnknownToken as error:
            raise InvalidRequest(str(error), param=param) from error
    try:
        tokenizer.check_ids(manifest.defaults.get("stop_token_ids", ()))
    except UnknownToken as error:
        raise InvalidRequest(f"stop_token_ids: {error}", param="defaults") from error


def _gate(body: CreateJob, distillation: Distillation | None) -> Gate | None:
    if body.gate is None:
        return None
    if body.gate.metric == "agreement" and distillation is None:
        raise InvalidRequest("gate.metric agreement is of a distillation with its teacher", param="gate.metric")
    try:
        return Gate(body.gate.metric, body.gate.min_score, body.gate.not_worse_than_production)
    except PlanRefused as error:
        raise InvalidRequest(str(error), param=error.param) from error
