"""`softprompt vllm-export`: a published version and a checkpoint folder as files for vLLM."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace

import pytest

from prompts_store.checkpoint_records import BaseKind, TaskType
from server.cli.errors import BaseUnreadable, FilesProblem
from server.cli.vllm_export import _export
from server.demo import TASKS_DIR
from softprompt_vllm.claims import Purpose, read_parameters, read_salt
from softprompt_vllm.prefix_file import read_header, read_key_values


def test_a_version_and_its_folder_are_one_file(softprompt, data_dir, tmp_path):
    """The demo's checkpoint: both sources have one digest, and the printed fields are what the connector reads."""
    out = tmp_path / "files"
    code, printed, err = softprompt("vllm-export", "route", TASKS_DIR / "route", out, "--json", "--data-dir", data_dir)
    assert code == 0, err
    first, second = json.loads(printed)
    assert first == second
    header = read_header(out / f"{first['digest']}.safetensors")
    assert [str(path) for path in out.iterdir()] == [first["path"]]
    assert header.num_virtual_tokens == first["num_virtual_tokens"]
    assert (header.num_layers, header.num_kv_heads, header.head_dim) == (5, 8, 32)
    assert len(read_key_values(out / f"{first['digest']}.safetensors")) == 5
    claim = read_parameters(first["kv_transfer_params"])
    assert (claim.digest, claim.num_virtual_tokens) == (first["digest"], first["num_virtual_tokens"])
    assert read_salt(first["cache_salt"]) == (Purpose.USE, first["digest"])


def test_a_person_reads_what_to_send(softprompt, data_dir, tmp_path):
    """The path, the number of placeholders, and the fields of a request as one line of JSON."""
    code, printed, err = softprompt("vllm-export", "sentiment@1", tmp_path, "--data-dir", data_dir)
    assert code == 0, err
    first, second, third = printed.splitlines()
    assert re.fullmatch(r"sentiment@1 -> .*/[0-9a-f]{64}\.safetensors", first)
    assert re.search(r"put \d+ placeholder ids before the text", second)
    assert set(json.loads(third)) == {"cache_salt", "kv_transfer_params"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sentiment"], "name a version and a folder"),
        (["unheard", "OUT"], "unheard"),
        (["OUT", "OUT"], "adapter_config.json"),
        (["sentiment", "FILE"], "cannot write"),
    ],
)
def test_what_cannot_be_exported_is_one_line(softprompt, data_dir, tmp_path, arguments, message):
    """And no file is left."""
    (tmp_path / "OUT").mkdir()
    (tmp_path / "FILE").write_text("")
    places = [str(tmp_path / name) if name in ("OUT", "FILE") else name for name in arguments]
    code, printed, err = softprompt("vllm-export", *places, "--data-dir", data_dir)
    assert (code, printed) == (1, "")
    assert message in err and len(err.splitlines()) == 1
    assert not list((tmp_path / "OUT").iterdir())


@pytest.mark.parametrize("kind", [BaseKind.ENCODER, BaseKind.ENCODER_DECODER])
def test_a_base_model_that_is_no_decoder_is_refused_by_its_kind(kind, tmp_path):
    """Before anything is read of the soft prompt."""
    with pytest.raises(BaseUnreadable, match=f"of the kind {kind}"):
        _export(SimpleNamespace(base=SimpleNamespace(kind=kind)), "sentiment", tmp_path)


def test_a_task_with_a_head_is_refused_by_its_type(monkeypatch, tmp_path):
    """vLLM writes text; it knows no heads."""
    checkpoint = SimpleNamespace(task_type=TaskType.SEQ_CLS)
    monkeypatch.setattr(sys.modules[_export.__module__], "_from_store", lambda bench, name: (checkpoint, None))
    with pytest.raises(FilesProblem, match="mood is for SEQ_CLS"):
        _export(SimpleNamespace(base=SimpleNamespace(kind=BaseKind.DECODER)), "mood", tmp_path)


@pytest.mark.parametrize("form", ["bfloat16", "int8-weight-only", "int8"])
def test_weights_of_fewer_bits_are_refused(form, softprompt, data_dir, tmp_path, monkeypatch):
    """Keys and values are for vLLM's weights, whatever the environment of `serve` says."""
    monkeypatch.setenv("SOFTPROMPT_WEIGHTS", form)
    code, printed, err = softprompt("vllm-export", "sentiment", tmp_path, "--data-dir", data_dir)
    assert (code, printed) == (2, "") and f"weights of {form} are for serve and evaluate" in err
