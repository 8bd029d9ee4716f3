"""The tuning process is started, proved equal, and ends with its server. A script stands in for it."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from server.jobs.process.child import TuningChild, TuningCommand, TuningProcessFailed, environment_of_child
from server.jobs.process.messages import Channel, Failed, Report, Work
from tests.jobs.process.commands import scripted

FINGERPRINT = "f" * 64


def refusal(command: TuningCommand) -> str:
    """What is said of a process that is not taken; it has ended."""
    with pytest.raises(TuningProcessFailed) as refused:
        TuningChild(command).prove(FINGERPRINT)
    return str(refused.value)


def test_an_equal_process_is_taken_and_ends_with_the_channel():
    """It says what a run costs, answers, and ends in order once its server has closed the channel."""
    child = TuningChild(scripted(fingerprint=FINGERPRINT, costs={"hidden_size": 8}))
    assert child.prove(FINGERPRINT).costs == {"hidden_size": 8}
    child.channel.send(Work(["mood"]))
    assert child.channel.receive() == Report({"num_validating": 1, "num_succeeded": 1})
    assert child.end() == 0


def test_another_base_model_is_refused():
    """By both fingerprints."""
    assert f"{'e' * 64}, and this server of {FINGERPRINT}" in refusal(scripted(fingerprint="e" * 64))


def test_another_release_is_refused():
    """Before it gets settings that it may not know."""
    assert "has release 0.0.1 of the server" in refusal(scripted("tests.jobs.process.scripted_old_child"))


def test_its_own_refusal_is_handed_on():
    """Such as a base model that does not fit into memory."""
    assert refusal(scripted(failed="no memory")) == "the tuning process does not start: no memory"


def test_a_python_without_the_server_is_refused():
    """With what it must be."""
    assert "ended with status 1 before it was ready: --tuning-python must be" in refusal(scripted("tests.no_module"))


def test_a_program_that_cannot_be_run_is_refused(tmp_path):
    """With its path and the reason."""
    file = tmp_path / "python"
    file.write_text("no program")
    file.chmod(0o700)
    with pytest.raises(TuningProcessFailed, match=f"--tuning-python {file} cannot be run: Exec format error"):
        TuningChild(TuningCommand(file, {}, {}))


def test_a_process_that_does_not_end_is_killed(monkeypatch):
    """The server waits for a time only."""
    monkeypatch.setattr("server.jobs.process.child._END_S", 0.05)
    child = TuningChild(scripted(fingerprint=FINGERPRINT, is_deaf=True))
    child.prove(FINGERPRINT)
    assert child.end() == -signal.SIGKILL


def test_a_silent_process_is_refused(monkeypatch, tmp_path):
    """Whatever program it is, the start does not wait for ever."""
    monkeypatch.setattr("server.jobs.process.child._HELLO_S", 0.05)
    monkeypatch.setattr("server.jobs.process.child._END_S", 0.05)
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    assert "says nothing for 0 s" in refusal(TuningCommand(program, {"PATH": os.defpath}, {}))


def test_the_settings_of_the_server_are_not_read_from_its_environment(monkeypatch):
    """The process gets those that it needs, and refuses others."""
    monkeypatch.setenv("SOFTPROMPT_TUNING_PYTHON", "python")
    monkeypatch.setenv("OTHER", "1")
    environment = environment_of_child()
    assert environment["OTHER"] == "1" and "SOFTPROMPT_TUNING_PYTHON" not in environment


def test_a_message_without_room_is_dropped():
    """Neither side waits for the other."""
    own, other = socket.socketpair()
    channel = Channel(own)
    for _ in range(5_000):
        channel.send(Failed("x" * 200))
    other.close()
    channel.send(Work([]))
    assert channel.receive() is None
    channel.hang_up()
    channel.close()
