"""What clients ask, and when an answer is right: greedy ones are those that the server gave alone, to the letter."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.system.soak.failures import Failures, Wrong

HELD_OUT = Path(__file__).parents[2] / "demo/heldout"
TASKS = ("sentiment", "date-iso", "intent", "language", "number-words", "route", "triage")
LABELLED = ("sentiment", "language", "triage")
NUM_TEXTS = 12
BASE = "softprompt-demo"
MOVING = "moving"
MAX_PAUSE_S = 0.1
REFUSED = (429, 503)

Body = dict[str, Any]


class Refused(Exception):
    """The server said that it had too much to do; no answer, and no error."""


@dataclass(frozen=True, slots=True)
class Question:
    """A text for a task of the demo, and what the server answered when it had nothing else to do."""

    task: str
    text: str
    answer: str
    label: str | None


@dataclass
class World:
    """What all clients share. `moving` has the answers of the moving task by version digest."""

    client: httpx.AsyncClient
    questions: Sequence[Question]
    failures: Failures
    moving: dict[str, str] = field(default_factory=dict)
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    outcomes: Counter[str] = field(default_factory=Counter)

    async def post(self, path: str, body: Body) -> httpx.Response:
        """An answer with status 200. Raises Wrong and Refused."""
        return answered(await self.client.post(path, json=body))

    @asynccontextmanager
    async def stream(self, path: str, body: Body) -> AsyncIterator[AsyncIterator[str]]:
        """The data of an answer's events. Raises Wrong and Refused."""
        async with self.client.stream("POST", path, json=body | {"stream": True}) as response:
            if response.status_code != 200:
                await response.aread()
            answered(response)
            yield (line.removeprefix("data: ") async for line in response.aiter_lines() if line)

    def question(self) -> Question:
        """Any of them."""
        return self.draw.choice(self.questions)


def answered(response: httpx.Response) -> httpx.Response:
    """The same, if its status is 200. Raises Wrong and Refused."""
    if response.status_code in REFUSED:
        raise Refused
    if not response.is_success:
        raise Wrong(f"{response.status_code} {response.request.url.path}: {response.text[:300]}")
    return response


def check(is_right: bool, wrong: str) -> None:
    """Raise Wrong unless it is right."""
    if not is_right:
        raise Wrong(wrong)


async def learn(client: httpx.AsyncClient) -> list[Question]:
    """Ask every question alone."""
    found = []
    for task in TASKS:
        rows = (HELD_OUT / f"{task}.jsonl").read_text().splitlines()[:NUM_TEXTS]
        for text in (json.loads(row)["input"] for row in rows):
            answer = answered(await client.post("/v1/completions", json={"model": task, "prompt": text}))
            label = None
            if task in LABELLED:
                verdict = answered(await client.post("/v1/classify", json={"model": task, "input": text}))
                label = verdict.json()["data"][0]["label"]
            found.append(Question(task, text, answer.json()["choices"][0]["text"], label))
    return found


# --- kinds of requests ------------------------------------------------------------------------------------------------


async def whole(world: World) -> None:
    asked = world.question()
    body = (await world.post("/v1/completions", {"model": asked.task, "prompt": asked.text})).json()
    check(body["choices"][0]["text"] == asked.answer, f"{asked}: {body}")


async def streamed(world: World) -> None:
    asked = world.question()
    async with world.stream("/v1/completions", {"model": asked.task, "prompt": asked.text}) as events:
        data = [event async for event in events]
    check(data[-1] == "[DONE]", f"a stream without an end: {data[-1]}")
    text = "".join(json.loads(event)["choices"][0]["text"] for event in data[:-1])
    check(text == asked.answer, f"{asked}: {data}")


async def chatted(world: World) -> None:
    asked = world.question()
    messages = [{"role": "user", "content": asked.text}]
    body = (await world.post("/v1/chat/completions", {"model": asked.task, "messages": messages})).json()
    check(body["choices"][0]["message"]["content"] == asked.answer, f"{asked}: {body}")


async def classified(world: World) -> None:
    asked = world.draw.choice([question for question in world.questions if question.label is not None])
    body = (await world.post("/v1/classify", {"model": asked.task, "input": [asked.text] * 2})).json()
    for verdict in body["data"]:
        total = sum(each["probability"] for each in verdict["probabilities"])
        check(verdict["label"] == asked.label and abs(total - 1) < 1e-6, f"{asked}: {verdict}")


async def sampled(world: World) -> None:
    ask = {"model": world.question().task, "prompt": world.question().text, "temperature": 1, "n": 3, "logprobs": 2}
    body = (await world.post("/v1/completions", ask | {"max_tokens": 16, "ignore_eos": True})).json()
    lengths = [len(choice["logprobs"]["tokens"]) for choice in body["choices"]]
    check(lengths == [16] * 3 and body["usage"]["completion_tokens"] == 48, f"{lengths}: {body['usage']}")


async def long(world: World) -> None:
    ask = {"model": BASE, "prompt": world.question().text, "max_tokens": 200, "ignore_eos": True}
    body = (await world.post("/v1/completions", ask)).json()
    check(body["usage"]["completion_tokens"] == 200, str(body["usage"]))


async def left(world: World) -> None:
    """Close the connection after the first event."""
    ask = {"model": world.question().task, "prompt": world.question().text, "max_tokens": 300, "ignore_eos": True}
    async with world.stream("/v1/completions", ask) as events:
        await anext(events)


async def moved(world: World) -> None:
    """Of whatever version answers, the answer is that version's."""
    response = await world.post("/v1/completions", {"model": MOVING, "prompt": world.questions[0].text})
    expected = world.moving.get(response.headers["x-softprompt-digest"])
    check(response.json()["choices"][0]["text"] == expected, f"not {expected}: {response.text}")


_BAD: tuple[tuple[str, Body, int], ...] = (
    ("/v1/completions", {"model": "nobody", "prompt": "a"}, 404),
    ("/v1/completions", {"model": "sentiment"}, 400),
    ("/v1/completions", {"model": "sentiment", "prompt": "a", "max_tokens": -2}, 400),
    ("/v1/completions", {"model": "sentiment", "prompt": "a", "nonsense": 1}, 400),
    ("/v1/completions", {"model": "sentiment", "prompt": "a " * 3000}, 400),
    ("/v1/completions", {"model": "sentiment", "prompt": ["a"] * 1000}, 400),
    ("/v1/chat/completions", {"model": "sentiment", "messages": []}, 400),
    ("/v1/classify", {"model": "date-iso", "input": "a"}, 400),
    ("/v1/tasks", {"name": "No Name"}, 400),
    ("/v1/fine_tuning/jobs", {"model": BASE, "training_file": "file-99999999", "suffix": "nobody"}, 404),
    ("/nowhere", {}, 404),
)


async def bad(world: World) -> None:
    path, body, status = world.draw.choice(_BAD)
    response = await world.client.post(path, json=body)
    is_right = response.status_code == status and set(response.json()["error"]) == {"message", "type", "code", "param"}
    check(is_right, f"{path} {str(body)[:80]}: {response.status_code} {response.text[:300]}")


CLIENTS: tuple[Callable[[World], Awaitable[None]], ...] = (
    *(whole, streamed) * 3,
    *(chatted, classified, sampled, long, left, moved) * 2,
    bad,
)


async def again(world: World, ask: Callable[[World], Awaitable[None]], stop: asyncio.Event) -> None:
    """Ask until told to stop, and count what comes of it."""
    while not stop.is_set():
        try:
            await ask(world)
        except Refused:
            world.outcomes["refused"] += 1
        except (Wrong, httpx.HTTPError) as error:
            world.failures.note(ask.__name__, error)
        else:
            world.outcomes[ask.__name__] += 1
        await asyncio.sleep(world.draw.uniform(0, MAX_PAUSE_S))
