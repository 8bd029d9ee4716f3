"""Manifests: what is accepted survives a round trip, what is refused names its field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from prompts_store.errors import InvalidManifest
from prompts_store.manifest import Manifest, content_fields, manifest_from_json, manifest_to_json, parse_manifest

FULL: dict[str, Any] = {
    "template": "Review: {input} {}{{}} {0} %s\nLabel:",
    "labels": ["good", "bad", "schön"],
    "stop": ["\n", "END"],
    "add_special_tokens": False,
    "defaults": {
        "max_tokens": 16,
        "min_tokens": 1,
        "temperature": 0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0,
        "seed": -1,
        "stop_token_ids": [7, 2, 7],
        "ignore_eos": False,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "repetition_penalty": 1.1,
    },
    "task_index": 0,
    "metrics": {"accuracy": 0.93, "by_label": {"good": [1, 2]}, "tuned": True, "seed": None},
    "note": "second run",
    "parent_version": 1,
    "training_data_digest": "a" * 64,
}


def test_a_full_manifest_survives_json() -> None:
    manifest = parse_manifest(FULL)
    text = json.dumps(manifest_to_json(manifest))
    assert parse_manifest(json.loads(text)) == manifest
    assert manifest_from_json(json.loads(text)) == manifest


def test_to_make_a_manifest_is_to_check_it() -> None:
    """Also of another one; it has its one form at once, and only what was stored is taken as it is."""
    with pytest.raises(InvalidManifest, match="exactly once"):
        Manifest(template="no mark")
    with pytest.raises(InvalidManifest, match="one label"):
        replace(Manifest(), labels=("one",))
    assert Manifest(defaults={"temperature": 0}) == Manifest(defaults={"temperature": 0.0})
    assert type(Manifest(defaults={"temperature": 0}).defaults["temperature"]) is float
    stored = manifest_from_json(manifest_to_json(Manifest()) | {"labels": ["one"]})
    assert stored.labels == ("one",)
    with pytest.raises(InvalidManifest, match="one label"):
        replace(stored, note="again")


def test_no_field_of_the_json_skips_the_checks() -> None:
    with pytest.raises(InvalidManifest, match="unknown field"):
        parse_manifest({"template": "no mark", "is_stored": True})


def test_an_empty_manifest_is_the_default_one() -> None:
    assert parse_manifest({}) == Manifest()
    assert parse_manifest(manifest_to_json(Manifest())) == Manifest()


def test_one_content_has_one_form() -> None:
    """Numbers equal by value, and stop token ids in any order, are the same content."""
    spelled = {"temperature": 1, "top_p": 1, "presence_penalty": -0.0, "stop_token_ids": [2, 1, 2]}
    plain = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0, "stop_token_ids": [1, 2], "seed": None}
    first, second = (json.dumps(manifest_to_json(parse_manifest({"defaults": each}))) for each in (spelled, plain))
    assert first == second


def test_a_chat_template_is_content_and_excludes_a_template() -> None:
    """Without one a manifest has the form, and so the digest, of releases that did not know it."""
    assert content_fields(Manifest(chat_template=True)) == content_fields(Manifest()) | {"chat_template": True}
    assert manifest_from_json(manifest_to_json(Manifest(chat_template=True))).chat_template
    for fields in ({"chat_template": True, "template": "{input}"}, {"chat_template": "yes"}):
        with pytest.raises(InvalidManifest) as caught:
            parse_manifest(fields)
        assert caught.value.param == "manifest.chat_template"


def test_what_changes_no_answer_is_not_content() -> None:
    manifest = parse_manifest(FULL)
    told = {"metrics", "note", "parent_version", "training_data_digest"}
    assert content_fields(manifest).keys() == manifest_to_json(manifest).keys() - told


def test_a_manifest_of_the_first_release_is_read() -> None:
    stored = manifest_to_json(parse_manifest(FULL))
    del stored["parent_version"], stored["training_data_digest"]
    assert manifest_from_json(stored).training_data_digest is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("template", 3),
        ("template", ""),
        ("template", "no mark"),
        ("template", "{input} and {input}"),
        ("template", "{Input}"),
        ("template", "{input}" + "x" * 40_000),
        ("template", "{input}\0"),
        ("template", "{input}\ud800"),
        ("labels", "good"),
        ("labels", {"good": 1}),
        ("labels", ["one"]),
        ("parent_version", 0),
        ("parent_version", True),
        ("parent_version", 2**31),
        ("training_data_digest", "A" * 64),
        ("training_data_digest", "a" * 63),
        ("labels", ["a", "a"]),
        ("labels", ["a", ""]),
        ("labels", ["a", " "]),
        ("labels", ["a", 1]),
        ("labels", ["a", "b" * 257]),
        ("labels", [str(number) for number in range(1001)]),
        ("stop", "\n"),
        ("stop", [""]),
        ("stop", ["x"] * 17),
        ("stop", ["x" * 257]),
        ("stop", [None]),
        ("add_special_tokens", 1),
        ("add_special_tokens", "true"),
        ("task_index", -1),
        ("task_index", True),
        ("task_index", 1.0),
        ("task_index", 2**31),
        ("metrics", []),
        ("metrics", "good"),
        ("metrics", {"a": float("nan")}),
        ("metrics", {"a": object()}),
        ("metrics", {(1, 2): 3}),
        ("metrics", {"a": "x" * 20_000}),
        ("note", None),
        ("note", 1),
        ("note", "x" * 4097),
        ("note", "\udfff"),
        ("defaults", []),
        ("defaults", {"n": 2}),
        ("defaults", {"logit_bias": {}}),
        ("defaults", {"Temperature": 1.0}),
    ],
)
def test_a_bad_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidManifest) as refused:
        parse_manifest({field: value})
    assert refused.value.param == f"manifest.{field}"
    assert len(str(refused.value)) < 300


def test_deep_metrics_are_refused() -> None:
    metrics: dict[str, Any] = {}
    for _ in range(50_000):
        metrics = {"a": metrics}
    with pytest.raises(InvalidManifest, match="nests deeper"):
        parse_manifest({"metrics": metrics})


@pytest.mark.parametrize("data", [{"lables": ["a", "b"]}, {1: 2}, [], "template", None])
def test_what_is_no_object_of_known_fields_is_refused(data: object) -> None:
    with pytest.raises(InvalidManifest) as refused:
        parse_manifest(data)
    assert refused.value.param == "manifest"


@pytest.mark.parametrize("labels", [[], ["a", "b"], [str(number) for number in range(1000)]])
def test_no_label_or_two_to_a_thousand_are_accepted(labels: list[str]) -> None:
    assert parse_manifest({"labels": labels}).labels == tuple(labels)
