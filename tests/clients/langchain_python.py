"""LangChain's `langchain-openai`, and the agent of `langchain`."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage, message_to_dict, messages_from_dict
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from tests.clients.scenario import MODEL, TURNS, VECTORS, check_answer, check_example, run, scenario

chat_model = ChatOpenAI(model=MODEL, max_retries=0)


@scenario("chat")
def chat() -> None:
    check_answer(chat_model.invoke(TURNS[0]).content)
    check_answer(chat_model.invoke([SystemMessage("Answer in a word."), HumanMessage(TURNS[0])]).content)


@scenario("stream")
def stream() -> None:
    check_answer("".join(str(chunk.content) for chunk in chat_model.stream(TURNS[0])))


@scenario("turns", "invoke")
def turns() -> None:
    messages: list[Any] = []
    for text in TURNS:
        messages += [HumanMessage(text), chat_model.invoke([*messages, HumanMessage(text)])]
    check_answer(messages[-1].content)


@scenario("turns", "stream")
def turns_of_streams() -> None:
    messages: list[Any] = []
    for text in TURNS:
        messages.append(HumanMessage(text))
        whole = AIMessageChunk("")
        for chunk in chat_model.stream(messages):
            whole += chunk
        messages.append(whole)
    check_answer(messages[-1].content)


@scenario("turns", "kept as JSON")
def turns_from_json() -> None:
    messages: list[Any] = []
    for text in TURNS:
        messages.append(HumanMessage(text, name="ada"))
        messages += messages_from_dict([message_to_dict(chat_model.invoke(messages))])
    check_answer(messages[-1].content)


@scenario("turns", "parts as content")
def turns_of_parts() -> None:
    parts: Any = [{"type": "text", "text": TURNS[0]}]
    answer = chat_model.invoke([HumanMessage(parts)])
    messages = [HumanMessage(parts), answer, HumanMessage(TURNS[1])]
    check_answer(chat_model.invoke(messages).content)


@scenario("agent")
def agent() -> None:
    made: Any = create_agent(chat_model, tools=[], system_prompt="Answer in a word.")
    state = made.invoke({"messages": [{"role": "user", "content": TURNS[0]}]})
    state = made.invoke({"messages": [*state["messages"], {"role": "user", "content": TURNS[1]}]})
    check_answer(state["messages"][-1].content)


@scenario("agent", "bind_tools([])")
def no_tools() -> None:
    check_answer(chat_model.bind_tools([]).invoke(TURNS[0]).content)


@scenario("completions")
def completions() -> None:
    model = OpenAI(model=MODEL, max_retries=0)
    check_answer(model.invoke(TURNS[0]))
    check_answer("".join(model.stream(TURNS[0])))


@scenario("embeddings")
def embeddings() -> None:
    # Its default cuts long texts by the tokens of OpenAI's models, and sends those.
    model = OpenAIEmbeddings(model=VECTORS, check_embedding_ctx_length=False, max_retries=0)
    assert len(model.embed_documents(list(TURNS))) == len(TURNS)
    assert all(isinstance(value, float) for value in model.embed_query(TURNS[0]))


@scenario("example")
def support_desk() -> None:
    check_example("examples/langchain_desk.py")


if __name__ == "__main__":
    run()
