"""LlamaIndex: `OpenAILike`, which it has for servers of this interface, with its chat engine and its agents."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.workflow import Context
from llama_index.llms.openai_like import OpenAILike

from tests.clients.scenario import MODEL, TURNS, URL, check_answer, check_example, run, scenario

llm = OpenAILike(model=MODEL, api_base=URL, api_key="unused", is_chat_model=True, max_retries=0)


@scenario("chat")
def chat() -> None:
    check_answer(llm.chat([ChatMessage(role="user", content=TURNS[0])]).message.content)
    check_answer(llm.complete(TURNS[0]).text)


@scenario("stream")
def stream() -> None:
    check_answer([*llm.stream_chat([ChatMessage(role="user", content=TURNS[0])])][-1].message.content)
    check_answer([*llm.stream_complete(TURNS[0])][-1].text)


@scenario("turns", "chat")
def turns() -> None:
    messages: list[ChatMessage] = []
    for text in TURNS:
        messages.append(ChatMessage(role="user", content=text))
        messages.append(llm.chat(messages).message)
    check_answer(messages[-1].content)


@scenario("turns", "stream_chat")
def turns_of_streams() -> None:
    messages: list[ChatMessage] = []
    for text in TURNS:
        messages.append(ChatMessage(role="user", content=text))
        messages.append([*llm.stream_chat(messages)][-1].message)
    check_answer(messages[-1].content)


@scenario("turns", "chat engine")
def chat_engine() -> None:
    engine = SimpleChatEngine.from_defaults(llm=llm, system_prompt="Answer in a word.")
    for text in TURNS:
        answer = engine.chat(text).response
    check_answer(answer)


@scenario("agent", "FunctionAgent(tools=[])")
def agent() -> None:
    async def ask() -> Any:
        calling = OpenAILike(
            model=MODEL, api_base=URL, api_key="unused", is_chat_model=True, is_function_calling_model=True
        )
        made = FunctionAgent(tools=[], llm=calling, system_prompt="Answer in a word.")
        context = Context(made)
        await made.run(TURNS[0], ctx=context)
        return await made.run(TURNS[1], ctx=context)

    check_answer(str(asyncio.run(ask())))


@scenario("completions")
def completions() -> None:
    model = OpenAILike(model=MODEL, api_base=URL, api_key="unused", max_retries=0)
    check_answer(model.complete(TURNS[0]).text)
    check_answer([*model.stream_complete(TURNS[0])][-1].text)


@scenario("example")
def support_desk() -> None:
    check_example("examples/llama_index_desk.py")


if __name__ == "__main__":
    run()
