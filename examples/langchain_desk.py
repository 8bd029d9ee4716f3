"""A support desk in LangChain: the departments and the wishes of several messages, by two tasks of one base model.

Run it beside `make serve`, where langchain-openai is installed:  python examples/langchain_desk.py

A task is a model's name. The demo's tasks are asked by `OpenAI`, the interface of completions. With a base model that
has a chat template, `ChatOpenAI` does the same.
"""

import os

from langchain_core.runnables import RunnableParallel, RunnablePassthrough
from langchain_openai import OpenAI

URL = os.environ.get("SOFTPROMPT_URL", "http://127.0.0.1:8000")
MESSAGES = ["Where is my parcel? It should have been here on Monday", "I cannot sign in with my password"]


def task(name: str) -> OpenAI:
    return OpenAI(
        model=name,
        base_url=f"{URL}/v1",
        api_key=os.environ.get("SOFTPROMPT_API_KEY", "unused without one"),
        temperature=0,
        max_tokens=8,
    )


desk = RunnableParallel(message=RunnablePassthrough(), department=task("route"), wish=task("intent"))
for found in desk.batch(MESSAGES):
    print(f"{found['department']:>10}  {found['wish']:<8} {found['message']}")
