"""What stock clients send: what asks for nothing is accepted, what is not done is refused by its name."""

import itertools
import re
from dataclasses import replace

import pytest

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import read_examples
from tests.api.conftest import client_of, error_of, publish
from tests.api.stock_inputs.chats import CHATS
from tests.api.stock_inputs.completions import COMPLETIONS
from tests.api.stock_inputs.conversations import CONVERSATIONS
from tests.api.stock_inputs.files import UPLOADS
from tests.api.stock_inputs.jobs import JOB_BODIES
from tests.api.stock_inputs.lines import LINES
from tests.api.stock_inputs.routes import ROUTES
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level

INPUTS = {
    "chats": CHATS,
    "conversations": CONVERSATIONS,
    "completions": COMPLETIONS,
    "routes": ROUTES,
    "jobs": JOB_BODIES,
    "files": UPLOADS,
}
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
ROWS = b'{"text":"good","label":"yes"}\n{"text":"bad","label":"no"}\n'


@pytest.fixture
async def asked(services):
    """A client of a server with a task, whose tokenizer has a chat template."""
    limits = replace(services.settings.limits, max_unfinished_jobs=100)
    settings = replace(services.settings, limits=limits)
    services = with_parts(services, tokenizer=byte_level(TEMPLATE), settings=settings)
    async with client_of(services) as client:
        assert (await publish(client)).status_code == 201
        yield client


async def send(client, one):
    """The response to an input; `{file}` in its body becomes the id of a file."""
    if not isinstance(one.body, dict):
        return await client.request(one.method, one.path, content=one.body, headers=one.headers)
    body = one.body
    if body.get("training_file") == "{file}":
        uploaded = await client.post("/v1/files", files={"file": ("a.jsonl", ROWS)}, data={"purpose": "fine-tune"})
        body = body | {"training_file": uploaded.json()["id"]}
    return await client.request(one.method, one.path, json=body, headers=one.headers)


def is_right(one, response):
    """Whether it was accepted, or refused with a `param` that is the field or a path through it."""
    if one.refused is None:
        return response.status_code == 200
    if response.status_code != one.status or one.method == "HEAD":
        return response.status_code == one.status
    path = (error_of(response)["param"] or "").replace("[", ".").replace("]", "").split(".")
    return not one.refused or one.refused in path


def read(one):
    """What reading a line says against it; empty where it is taken."""
    other = b'\n{"text":"bad","label":"another"}' if b'"label"' in one.line else b""
    try:
        read_examples(one.line + other)
    except ExamplesRefused as refusal:
        return str(refusal)
    return ""


def check(wrong):
    """Fail for all that is wrong at once."""
    if wrong:
        said = [f"{name}\n    {message}" for name, message in wrong.items()]
        pytest.fail("\n".join(["these are not treated as they should be:", *said]), pytrace=False)


@pytest.mark.parametrize("group", INPUTS)
async def test_an_input_is_accepted_or_refused_by_name(asked, group):
    """Each of a group, one after another in one server."""
    wrong = {}
    for one in INPUTS[group]:
        response = await send(asked, one)
        if not is_right(one, response):
            wrong[one.name] = f"{response.status_code}: {response.text[:300]}"
    check(wrong)


def test_a_line_is_accepted_or_refused_by_name():
    """The message of a refusal names the key."""
    said = {one.name: read(one) for one in LINES}
    wrong = {
        one.name: said[one.name]
        for one in LINES
        if (said[one.name] != "" if one.refused is None else not re.search(rf"\b{one.refused}\b", said[one.name]))
    }
    check(wrong)


def test_every_input_has_a_name_of_its_own():
    """So that a failure says which input failed."""
    names = [one.name for one in itertools.chain(*INPUTS.values(), LINES)]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
