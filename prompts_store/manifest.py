"""Checks of a manifest: the content of a version besides its tensors. records.Manifest explains each field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prompts_store.errors import InvalidManifest
from prompts_store.generation_defaults import parse_defaults
from prompts_store.records import Manifest
from prompts_store.strict_json import STORABLE, JsonRefused, canonical, check_depth, check_texts

INPUT_MARK = "{input}"
MAX_TEMPLATE_LENGTH = 32 * 1024
MAX_LABELS = 1000
MAX_LABEL_LENGTH = 256
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_METRICS_BYTES = 16 * 1024
MAX_NOTE_LENGTH = 4096

_FIELDS = frozenset(Manifest.__dataclass_fields__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
SHARED_BY_MEMBERS = ("template", "labels", "stop", "add_special_tokens", "defaults")
"""Fields that must be equal in all members of an ensemble, because they share one prompt and one answer."""
_NOT_CONTENT = ("metrics", "note", "parent_version", "training_data_digest")


def parse_manifest(data: object) -> Manifest:
    """Check a manifest from a caller, a JSON object. Lengths are in characters.

    Raises InvalidManifest whose `param` is `manifest.` and the field; unknown fields are refused.
    """
    if not isinstance(data, Mapping):
        raise InvalidManifest("The manifest is not a JSON object.", param="manifest")
    if not data.keys() <= _FIELDS:
        known = ", ".join(Manifest.__dataclass_fields__)
        raise InvalidManifest(f"The manifest has an unknown field; allowed are {known}.", param="manifest")
    return Manifest(
        template=_template(data.get("template")),
        labels=_labels(data.get("labels")),
        stop=_texts(data.get("stop"), "stop", max_items=MAX_STOPS, max_length=MAX_STOP_LENGTH),
        add_special_tokens=_flag(data.get("add_special_tokens")),
        defaults=parse_defaults(data.get("defaults")),
        task_index=_integer(data.get("task_index"), "task_index", 0),
        metrics=_metrics(data.get("metrics")),
        note=_text(data.get("note", ""), "note", MAX_NOTE_LENGTH),
        parent_version=_integer(data.get("parent_version"), "parent_version", 1),
        training_data_digest=_sha256(data.get("training_data_digest")),
    )


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Return every field as a JSON value; parse_manifest reads it back to an equal manifest."""
    fields = asdict(manifest)
    return fields | {"labels": list(manifest.labels), "stop": list(manifest.stop)}


def manifest_from_json(fields: Mapping[str, Any]) -> Manifest:
    """Return a stored manifest, unchecked, so that it stays readable when rules tighten and when fields are added."""
    return Manifest(**{**fields, "labels": tuple(fields["labels"]), "stop": tuple(fields["stop"])})


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


def _flag(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise _refusal("add_special_tokens", "must be true, false or null")


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
