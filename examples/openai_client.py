"""Two tasks of one model through the stock openai client, in flight together.

Run it beside `make serve`:  .venv/bin/python examples/openai_client.py
"""

import asyncio

from openai import AsyncOpenAI

QUESTIONS = {
    "sentiment": ["The food was cold and the waiter was rude", "Best purchase I have made this year!"],
    "date-iso": ["the 4th of July 1976", "Mon, 5 Jan 1998"],
}


async def main() -> None:
    client = AsyncOpenAI(base_url="http://127.0.0.1:8000/v1", api_key="unused without SOFTPROMPT_API_KEY")

    async def ask(task: str, text: str) -> str:
        answer = await client.completions.create(model=task, prompt=text)
        return f"{task:>10}  {text:<45} {answer.choices[0].text}"

    for line in await asyncio.gather(*(ask(task, text) for task, texts in QUESTIONS.items() for text in texts)):
        print(line)


asyncio.run(main())
