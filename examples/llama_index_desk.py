"""A support desk in LlamaIndex: a workflow whose first step asks one task, and whose second step another one.

Run it beside `make serve`, where llama-index-llms-openai-like is installed:  python examples/llama_index_desk.py
"""

import asyncio
import os

from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
from llama_index.llms.openai_like import OpenAILike

URL = os.environ.get("SOFTPROMPT_URL", "http://127.0.0.1:8000")
MESSAGES = ["Where is my parcel? It should have been here on Monday", "I cannot sign in with my password"]


def task(name: str) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=f"{URL}/v1",
        api_key=os.environ.get("SOFTPROMPT_API_KEY", "unused without one"),
        is_chat_model=False,
        temperature=0,
        max_tokens=8,
    )


class Routed(Event):
    message: str
    department: str


class Desk(Workflow):
    @step
    async def route(self, event: StartEvent) -> Routed:
        answer = await task("route").acomplete(event.message)
        return Routed(message=event.message, department=answer.text)

    @step
    async def understand(self, event: Routed) -> StopEvent:
        wish = await task("intent").acomplete(event.message)
        return StopEvent(result=f"{event.department:>10}  {wish.text:<8} {event.message}")


async def main() -> None:
    for line in await asyncio.gather(*(Desk().run(message=message) for message in MESSAGES)):
        print(line)


asyncio.run(main())
