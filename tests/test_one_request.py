"""docs/one_request.md tells the path that a completion really takes."""

from __future__ import annotations

import re

import pytest

from tests.request_path import PACKAGES, ROOT, record

PAGE = (ROOT / "docs" / "one_request.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """What a completion and an upload pass, on a tiny model."""
    return record(tmp_path_factory.mktemp("path"))


def test_every_file_of_the_page_is_on_the_path(paths):
    """Those that exist and are not passed would mislead as much as those that are gone."""
    completion, _ = paths
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w/]+\.py)`", PAGE)
    assert len(named) > 30
    assert not set(named) - set(completion.files)


def test_an_upload_is_parsed_once(paths):
    """Its manifest, its configuration and its prefix: what was checked is carried on, and not checked again."""
    _, upload = paths
    once = ("checkpoint/reader.py", "checkpoint/config_reader.py", "generation_defaults.py")
    assert {upload.files[f"prompts_store/{file}"] for file in once} == {1}
    assert upload.files["prompts_store/checkpoint/prefix.py"] == 2, "the task index before the tensors are read"


def test_no_step_of_a_completion_jumps_back_into_its_route(paths):
    """Control goes down the stairs: what calls back up is ASGI's layers, and a class and its base."""
    completion, upload = paths
    returns = {
        (caller, callee)
        for caller, callee in (*completion.returns, *upload.returns)
        if not callee.startswith("server/api/middleware/")
    }
    assert returns <= {("server/model/cpu/attention.py", "server/model/paged_attention.py")}
