"""A support desk: one task says which department a message belongs to, another one what the customer wants.

Run it beside `make serve`:  .venv/bin/python examples/support_desk.py

Of the demo's tasks, `route` chooses one of five departments, with a probability, and `intent` answers with one of eight
words. All requests share one base model; those in flight together share its batches, whatever their task.
"""

import asyncio
import os

from openai import AsyncOpenAI

URL = os.environ.get("SOFTPROMPT_URL", "http://127.0.0.1:8000")
MESSAGES = [
    "I was charged twice for the same order",
    "Where is my parcel? It should have been here on Monday",
    "I cannot sign in, the page says that my password is wrong",
    "Please cancel my subscription at the end of the month",
]
REPLIES = {
    "refund": "We will look at the payment and send the money back.",
    "track": "Here is where your parcel is.",
    "login": "Here is a link for a new password.",
    "cancel": "Your subscription ends with this month.",
}
SURE = 0.6  # a person reads what is less likely


async def main() -> None:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("SOFTPROMPT_API_KEY", "unused without one"))
    for line in await asyncio.gather(*(handle(client, message) for message in MESSAGES)):
        print(line)


async def handle(client: AsyncOpenAI, message: str) -> str:
    """The department, and the reply that it sends."""
    department, probability = await classify(client, "route", message)
    if probability < SURE:
        return f"{'a person':>10}  {message}"
    wanted = (await client.completions.create(model="intent", prompt=message)).choices[0].text
    return f"{department:>10}  {message}\n{'':>10}  -> {REPLIES.get(wanted, f'We will answer soon ({wanted}).')}"


async def classify(client: AsyncOpenAI, task: str, text: str) -> tuple[str, float]:
    """The label and its probability. The route is this server's own, so it is asked by `post`."""
    result = await client.post("/classify", body={"model": task, "input": text}, cast_to=dict)
    (found,) = result["data"]
    return found["label"], max(one["probability"] for one in found["probabilities"])


asyncio.run(main())
