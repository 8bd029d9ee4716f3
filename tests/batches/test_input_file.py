"""The input file of a batch: every fault is named with its line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batches.input_file import InputLimits, read_input
from tests.batches.conftest import LIMITS, PATH, input_file, line


def faults(*lines, limits=LIMITS):
    """Code, line and field of each fault."""
    return [(one.code, one.line, one.param) for one in read_input(input_file(*lines), PATH, limits).faults]


def test_lines_are_read_in_order_with_their_numbers():
    """Empty lines count, and a last line needs no end."""
    read = read_input(input_file(line("a"), "", line("b"), "  "), PATH, LIMITS)
    assert [(one.number, one.custom_id) for one in read.lines] == [(1, "a"), (3, "b")]
    assert read.lines[1].body == {"model": "sentiment", "prompt": "b"}
    assert read.tasks == {"sentiment"}


def test_the_tasks_of_all_spellings_are_found():
    """A purge of a task must find the batch by any of them."""
    models = ("a", "b@3", "c@canary", "hub/Base-Model.1")
    read = read_input(input_file(*(line(m, {"model": m}) for m in models)), PATH, LIMITS)
    assert {"a", "b", "c"} <= read.tasks


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", ("invalid_json_line", 2, None)),
        ("[]", ("invalid_json_line", 2, None)),
        ('{"custom_id": "a", "custom_id": "b"}', ("invalid_json_line", 2, None)),
        ("\N{SNOWMAN}" * 4_000, ("invalid_json_line", 2, None)),
        (json.dumps({"method": "POST", "url": PATH, "body": {}}), ("missing_required_parameter", 2, "custom_id")),
        (line("x", more=1), ("unknown_parameter", 2, None)),
        (line("x", custom_id=7), ("invalid_custom_id", 2, "custom_id")),
        (line(""), ("invalid_custom_id", 2, "custom_id")),
        (line("x" * 257), ("invalid_custom_id", 2, "custom_id")),
        (line("first"), ("duplicate_custom_id", 2, "custom_id")),
        (line("x", method="GET"), ("invalid_method", 2, "method")),
        (line("x", url="/v1/classify"), ("invalid_url", 2, "url")),
        (line("x", body=[]), ("invalid_body", 2, "body")),
        (line("x", {"prompt": "a"}), ("missing_required_parameter", 2, "body.model")),
        (line("x", {"model": "m", "stream": True}), ("stream_not_supported", 2, "body.stream")),
    ],
)
def test_a_line_that_is_wrong_is_named(text, fault):
    """By its number, a code, and the field at fault."""
    assert faults(line("first"), text) == [fault]


def test_all_faults_are_listed_up_to_a_bound():
    """So that one answer names what is to be mended."""
    assert len(faults(*["{"] * 30)) == 30
    assert len(faults(*["{"] * 300)) == 100


def test_a_file_without_lines_is_refused():
    """There would be no answer to wait for."""
    assert faults(" ", "") == [("empty_file", None, None)]


def test_a_file_of_too_many_lines_is_refused():
    """Empty lines do not count."""
    limits = InputLimits(max_lines=2, max_line_bytes=1_000)
    assert faults(line("a"), line("b"), line("c"), limits=limits) == [("too_many_lines", 3, None)]
    assert faults(line("a"), "", line("b"), limits=limits) == []


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data):
    """Whatever is uploaded has lines or faults."""
    read = read_input(data, PATH, LIMITS)
    assert bool(read.lines) != bool(read.faults)
