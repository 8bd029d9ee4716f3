"""The content of a version besides its tensors. The constructor checks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import InitVar, asdict, dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from prompts_store.errors import InvalidManifest
from prompts_store.generation_defaults import parse_defaults
from prompts_store.strict_json import STORABLE, JsonRefused, canonical, check_depth, check_texts

INPUT_MARK = "{input}"
MAX_TEMPLATE_LENGTH = 32 * 1024
MAX_LABELS = 1000
MAX_LABEL_LENGTH = 256
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_METRICS_BYTES = 16 * 1024
MAX_NOTE_LENGTH = 4096

_SHA256 = re.compile(r"[0-9a-f]{64}")
SHARED_BY_MEMBERS = (
    "template",
    "chat_template",
    "labels",
    "stop",
    "add_special_tokens",
    "defaults",
    "pooling",
    "normalize",
    "problem_type",
)
"""Fields that must be equal in all members of an ensemble, because they share one prompt and one answer."""
_LATER_FIELDS = ("chat_template", "pooling", "normalize", "problem_type")
_NOT_CONTENT = ("metrics", "note", "parent_version", "training_data_digest")


class Pooling(StrEnum):
    """The vector of a sequence: of its last token, the mean over its text, or of an encoder's first position."""

    LAST = "last"
    MEAN = "mean"
    FIRST = "first"


class ProblemType(StrEnum):
    """What the outputs of a classifier are, in the words of transformers' `problem_type`."""

    SINGLE_LABEL = "single_label_classification"
    MULTI_LABEL = "multi_label_classification"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a version besides its tensors. The constructor checks it, also in `replace`, and normalises it.

    Content (part of the digest): `template` (holds one literal `{input}`; None: the input is the prompt),
    `chat_template` (an input is a user's message in the base model's chat template; excludes `template`), `labels`,
    `stop`, `add_special_tokens` (None: the tokenizer's default), `defaults` (generation parameters), `task_index`
    (MULTITASK_PROMPT_TUNING only). Content of tasks with a head: `pooling` (FEATURE_EXTRACTION only; None: the last
    token of a decoder, the mean of an encoder), `normalize` (FEATURE_EXTRACTION only; None: to length 1),
    `problem_type` (SEQ_CLS only; None: the base model's, or what the number of outputs says). Not content: `metrics`,
    `note`, `parent_version` (the version of the same task that this one is to follow: of a tuned one, what was
    `production` when it was judged), `training_data_digest` (sha256 in lowercase hexadecimal). Lengths are in
    characters.

    Raises InvalidManifest whose `param` is `manifest.` and the field. `is_stored` skips the checks: what was stored
    stays readable when rules tighten.
    """

    template: str | None = None
    labels: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    add_special_tokens: bool | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    task_index: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    parent_version: int | None = None
    training_data_digest: str | None = None
    chat_template: bool = False
    pooling: Pooling | None = None
    normalize: bool | None = None
    problem_type: ProblemType | None = None
    is_stored: InitVar[bool] = False

    def __post_init__(self, is_stored: bool) -> None:
        if is_stored:
            return
        for name, checked in _FIELDS.items():
            object.__setattr__(self, name, checked(getattr(self, name)))
        if self.chat_template and self.template is not None:
            raise _refusal("chat_template", "excludes a template; send one of the two")

    @property
    def has_prompt_form(self) -> bool:
        """Whether an input is put into a template or a chat template, so that it is not the prompt itself."""
        return self.template is not None or self.chat_template


def parse_manifest(data: object) -> Manifest:
    """Make a manifest of a JSON object that a caller wrote; unknown fields are refused. Raises InvalidManifest."""
    if not isinstance(data, Mapping):
        raise InvalidManifest("The manifest is not a JSON object.", param="manifest")
    if not data.keys() <= _FIELDS.keys():
        raise InvalidManifest(f"The manifest has an unknown field; allowed are {', '.join(_FIELDS)}.", param="manifest")
    return Manifest(**data)


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Return every field as a JSON value; parse_manifest reads it back to an equal manifest.

    Later fields are there only if they are set, so the digests and stored forms of other manifests do not change.
    """
    fields = asdict(manifest)
    for name in _LATER_FIELDS:
        if fields[name] == getattr(_UNSET, name):
            del fields[name]
    return fields | {"labels": list(manifest.labels), "stop": list(manifest.stop)}


def manifest_from_json(fields: Mapping[str, Any]) -> Manifest:
    """Return a stored manifest, unchecked, so that it stays readable when rules tighten and when fields are added."""
    return Manifest(**{**fields, "labels": tuple(fields["labels"]), "stop": tuple(fields["stop"]), "is_stored": True})


def content_fields(manifest: Manifest) -> dict[str, Any]:
    """Return the fields that change an answer, as JSON values."""
    return {key: value for key, value in manifest_to_json(manifest).items() if key not in _NOT_CONTENT}


def check_text(value: str, name: str, max_length: int) -> None:
    """Raise InvalidManifest for a text that is too long or that a database cannot hold (NUL, lone surrogates)."""
    if len(value) > max_length:
        message = f"{name} has a text of {len(value)} characters; the maximum is {max_length}."
        raise InvalidManifest(message, param=name)
    if not STORABLE.fullmatch(value):
        raise InvalidManifest(f"{name} holds a NUL character or half of a surrogate pair.", param=name)


def _refusal(field: str, problem: str) -> InvalidManifest:
    return InvalidManifest(f"{field} {problem}.", param=f"manifest.{field}")


def _text(value: object, field: str, max_length: int) -> str:
    if not isinstance(value, str):
        raise _refusal(field, "is not a text")
    check_text(value, f"manifest.{field}", max_length)
    return value


def _template(value: object) -> str | None:
    if value is None:
        return None
    template = _text(value, "template", MAX_TEMPLATE_LENGTH)
    if template.count(INPUT_MARK) != 1:
        raise _refusal(
            "template", f"holds {INPUT_MARK} {template.count(INPUT_MARK)} times; it must hold it exactly once"
        )
    return template


def _labels(value: object) -> tuple[str, ...]:
    labels = _texts(value, "labels", max_items=MAX_LABELS, max_length=MAX_LABEL_LENGTH)
    if len(labels) == 1:
        raise _refusal("labels", "has only one label; send none, or at least two")
    if len(set(labels)) != len(labels):
        raise _refusal("labels", "has two equal labels; send each label once")
    if not all(label.strip() for label in labels):
        raise _refusal("labels", "has a blank label")
    return labels


def _texts(value: object, field: str, *, max_items: int, max_length: int) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > max_items:
        raise _refusal(field, f"is not a list of at most {max_items} texts")
    texts = tuple(_text(item, field, max_length) for item in value)
    if "" in texts:
        raise _refusal(field, "has an empty text")
    return texts


def _flag(value: object, field: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise _refusal(field, "must be true, false or null")


def _choice(value: object, field: str, choices: type[StrEnum]) -> StrEnum | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in tuple(choices):
        raise _refusal(field, f"must be one of {', '.join(choices)}")
    return choices(value)


def _switch(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _refusal("chat_template", "must be true or false")


def _integer(value: object, field: str, low: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**31:
        raise _refusal(field, f"must be an integer from {low} to {2**31 - 1}")
    return value


def _sha256(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise _refusal("training_data_digest", "must be a SHA-256 in lowercase hexadecimal")
    return value


def _metrics(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refusal("metrics", "is not a JSON object")
    try:
        metrics: dict[str, Any] = dict(value)
        check_depth(metrics)
        check_texts(metrics)
        size = len(canonical(metrics))
    except JsonRefused as error:
        raise _refusal("metrics", str(error)) from error
    except (TypeError, ValueError) as error:
        raise _refusal("metrics", "holds a value that JSON cannot express") from error
    if size > MAX_METRICS_BYTES:
        raise _refusal("metrics", f"has {size} bytes; the maximum is {MAX_METRICS_BYTES}")
    return metrics


_FIELDS: Mapping[str, Callable[[object], object]] = {
    "template": _template,
    "labels": _labels,
    "stop": partial(_texts, field="stop", max_items=MAX_STOPS, max_length=MAX_STOP_LENGTH),
    "add_special_tokens": partial(_flag, field="add_special_tokens"),
    "defaults": parse_defaults,
    "task_index": partial(_integer, field="task_index", low=0),
    "metrics": _metrics,
    "note": partial(_text, field="note", max_length=MAX_NOTE_LENGTH),
    "parent_version": partial(_integer, field="parent_version", low=1),
    "training_data_digest": _sha256,
    "chat_template": _switch,
    "pooling": partial(_choice, field="pooling", choices=Pooling),
    "normalize": partial(_flag, field="normalize"),
    "problem_type": partial(_choice, field="problem_type", choices=ProblemType),
}
"""How each field is checked and put into its form, in this order."""

_UNSET = Manifest()
