"""LiteLLM, as a library, by the providers that it has for servers of this interface."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import litellm

from tests.clients.scenario import BASE, MODEL, TURNS, URL, VECTORS, check_answer, jsonl, run, scenario

PROVIDERS = ("openai", "hosted_vllm", "litellm_proxy")
Messages = list[Any]


def _ask(provider: str, messages: Messages, **asked: Any) -> Any:
    return litellm.completion(
        model=f"{provider}/{MODEL}", api_base=URL, api_key="unused", max_retries=0, messages=messages, **asked
    )


def _chat(provider: str) -> None:
    check_answer(_ask(provider, [{"role": "user", "content": TURNS[0]}]).choices[0].message.content)


def _stream(provider: str) -> None:
    chunks = [*_ask(provider, [{"role": "user", "content": TURNS[0]}], stream=True)]
    check_answer(litellm.stream_chunk_builder(chunks).choices[0].message.content)


def _turns(provider: str, put_back: Callable[[Any], Any], *, stream: bool) -> None:
    messages: Messages = []
    for text in TURNS:
        messages.append({"role": "user", "content": text})
        answer = _ask(provider, messages, stream=stream)
        whole = litellm.stream_chunk_builder([*answer], messages=messages) if stream else answer
        messages.append(put_back(whole.choices[0].message))
        check_answer(whole.choices[0].message.content)


def _agent(provider: str, **asked: Any) -> None:
    messages: Messages = [{"role": "system", "content": "Answer in a word."}, {"role": "user", "content": TURNS[0]}]
    message = _ask(provider, messages, **asked).choices[0].message
    assert not message.tool_calls
    check_answer(_ask(provider, [*messages, message, messages[-1]], **asked).choices[0].message.content)


for provider in PROVIDERS:
    scenario("chat", provider)(partial(_chat, provider))
    scenario("stream", provider)(partial(_stream, provider))
    for is_stream in (False, True):
        kind = "a stream's" if is_stream else "an answer's"
        scenario("turns", f"{provider}, {kind} message")(partial(_turns, provider, lambda it: it, stream=is_stream))
        dump = partial(_turns, provider, lambda it: it.model_dump(), stream=is_stream)
        scenario("turns", f"{provider}, {kind} model_dump()")(dump)
    scenario("agent", f"{provider}, tools left out")(partial(_agent, provider))
    scenario("agent", f"{provider}, tools=[]")(partial(_agent, provider, tools=[]))


@scenario("embeddings")
def embeddings() -> None:
    found = litellm.embedding(
        model=f"openai/{VECTORS}", api_base=URL, api_key="unused", max_retries=0, input=list(TURNS)
    )
    assert len(found.data) == len(TURNS)
    assert all(isinstance(item["embedding"][0], float) for item in found.data)


@scenario("completions")
def completions() -> None:
    ask = partial(
        litellm.text_completion,
        model=f"text-completion-openai/{MODEL}", api_base=URL, api_key="unused", max_retries=0, prompt=TURNS[0],
    )  # fmt: skip
    check_answer(ask().choices[0].text)
    check_answer("".join(chunk.choices[0].text or "" for chunk in ask(stream=True)))


@scenario("models")
def models() -> None:
    found = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_base=URL, api_key="unused"
    )
    assert MODEL in [name.rpartition("/")[2] for name in found], found


@scenario("tuning")
def tuning() -> None:
    to: Any = {"custom_llm_provider": "openai", "api_base": URL, "api_key": "unused"}
    file: Any = litellm.create_file(file=("train.jsonl", jsonl()), purpose="fine-tune", **to)
    job: Any = litellm.create_fine_tuning_job(
        model=BASE, training_file=file.id, suffix="tuned-litellm", hyperparameters={"n_epochs": 1}, **to
    )
    assert job.id in [found.id for found in litellm.list_fine_tuning_jobs(**to).data]
    litellm.cancel_fine_tuning_job(job.id, **to)
    assert litellm.file_delete(file.id, **to)


if __name__ == "__main__":
    run()
