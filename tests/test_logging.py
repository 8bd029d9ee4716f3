"""One line an event, JSON where machines read it, with the request's id and without what was asked."""

import json
import logging
import sys

import pytest
import structlog

from server.logging import PROMPTS, configure_logging


@pytest.fixture(autouse=True)
def uvicorn_as_it_was(monkeypatch):
    """uvicorn's own configuration, which another test may have left, is not ours; nor is the request's id."""
    for name in ("uvicorn", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    yield
    structlog.contextvars.clear_contextvars()


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_the_requests_id(capsys):
    """Away from a terminal that is the default."""
    configure_logging("info")
    with structlog.contextvars.bound_contextvars(request_id="req-1"):
        logging.getLogger("server.x").warning("number %d", 1, extra={"task": "a"})
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"message": "number 1", "level": "warning", "logger": "server.x", "request_id": "req-1", "task": "a"}


def test_a_traceback_is_one_line_and_shows_no_values(capsys):
    """Variables may hold prompts."""
    configure_logging("info", "json")
    secret = "what was asked"
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("server.x").exception("failed")
    (line,) = lines(capsys)
    assert "RuntimeError: broken" in line["exception"]
    assert secret not in line["exception"].replace('secret = "what was asked"', "")


def test_the_access_log_has_fields_and_no_query(capsys):
    """uvicorn's own line, in our form."""
    configure_logging("info", "json", access_log=True)
    arguments = ("127.0.0.1:1", "GET", "/v1/models?key=secret", "1.1", 200)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *arguments)
    (line,) = lines(capsys)
    assert (line["message"], line["method"], line["path"], line["status"]) == ("request", "GET", "/v1/models", 200)
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize(("settings", "number"), [({}, 0), ({"access_log": True}, 1)])
def test_requests_are_logged_when_asked_for(capsys, settings, number):
    configure_logging("info", "json", **settings)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "c", "GET", "/", "1.1", 200)
    assert len(lines(capsys)) == number


@pytest.mark.parametrize(("prompts", "number"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_prompts_are_logged_only_when_asked_for(capsys, level, prompts, number):
    """Whatever the level is."""
    configure_logging(level, "json", prompts=prompts)
    logging.getLogger(PROMPTS).info("prompt", extra={"task": "a", "prompt": "hello"})
    found = lines(capsys)
    assert len(found) == number
    assert all(line["prompt"] == "hello" for line in found)


def test_text_is_for_people(capsys):
    configure_logging("info", "text")
    logging.getLogger("server.x").info("loading %s", "a model", extra={"task": "a"})
    line = capsys.readouterr().err
    assert "loading a model" in line
    assert not line.startswith("{")
    assert line.count("\n") == 1
    assert sys.stderr is not None
