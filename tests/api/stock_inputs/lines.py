"""Lines of training files, as people have them from OpenAI's guides, from data sets and from other tools."""

from __future__ import annotations

import json
from typing import Any

from tests.api.stock_inputs.stock_input import StockLine, shown, user

_ANSWER = {"role": "assistant", "content": "positive"}
_CACHED = [{"type": "text", "text": "What a film.", "cache_control": {"type": "ephemeral"}}]
_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def _line(client: str, refused: str | None = None, /, **fields: Any) -> StockLine:
    return StockLine(f"line: {shown(fields)}", client, json.dumps(fields).encode(), refused)


def _talk(client: str, refused: str | None = None, /, *messages: dict[str, Any], **fields: Any) -> StockLine:
    return _line(client, refused, messages=list(messages or (user(), _ANSWER)), **fields)


LINES = [
    _talk("OpenAI's tool files, without tools", parallel_tool_calls=True),
    _talk("OpenAI's tool files, without tools", tools=None, parallel_tool_calls=False),
    _talk("OpenAI's older tool files", functions=[]),
    _talk("OpenAI's logs", tools=[], tool_choice="none"),
    _talk("OpenAI's logs", response_format=None),
    _talk("OpenAI's guide", None, user(), _ANSWER | {"weight": 1}),
    _talk("OpenAI's guide", None, user(), _ANSWER | {"weight": 0}, user(), _ANSWER | {"weight": 1}),
    _talk("pandas, whose numbers are all floats", None, user(), _ANSWER | {"weight": 1.0}),
    _talk("pandas, whose gaps are null", None, user(), _ANSWER | {"weight": None}),
    _talk(
        "openai's model_dump()", None, user(), _ANSWER | {"refusal": None, "tool_calls": None, "function_call": None}
    ),
    _talk(
        "datasets, which fills every row's keys", None, user(tool_calls=None, name=None), _ANSWER | {"tool_calls": []}
    ),
    _talk("AutoGen's logs", None, user(name="user"), _ANSWER),
    _talk("caching clients' logs", None, user(_CACHED), _ANSWER),
    _talk("openai's newer roles", None, {"role": "developer", "content": "Answer in a word."}, user(), _ANSWER),
    _talk("no system prompt", None, {"role": "system", "content": ""}, user(), _ANSWER),
    _line("OpenAI's older files", prompt="What a film.", completion="positive", weight=1),
    _line("data sets with whole numbers as classes", text="What a film.", label=1),
    _line("pandas with an index", text="What a film.", label="positive", __index_level_0__=3),
    _line("data sets", text="What a film.", label="positive", label_text="positive"),
    _line("data sets", text="What a film.", label="positive", split="train", source="reviews"),
    _line("TRL's files of completions", prompt="What a film.", completion="positive", metadata={}),
    StockLine("line: a byte order mark", "Notepad", b'\xef\xbb\xbf{"prompt":"a","completion":"b"}\r'),
    _talk("OpenAI's tool files", "tools", tools=[_TOOL]),
    _talk("OpenAI's tool files", "tool_calls", user(), {"role": "assistant", "content": None, "tool_calls": [_CALL]}),
    _talk(
        "OpenAI's vision files",
        "content",
        user([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]),
        _ANSWER,
    ),
    _talk("a weight of a half", "weight", user(), _ANSWER | {"weight": 0.5}),
    _talk("reasoning files", "reasoning_content", user(), _ANSWER | {"reasoning_content": "First, the film."}),
    _line("a truth value as a class", "label", text="What a film.", label=True),
    _line("a fraction as a class", "label", text="What a film.", label=0.5),
    _line("no class", "label", text="What a film.", label=None),
    _line("several classes", "label", text="What a film.", label=["positive", "short"]),
    _line(
        "OpenAI's preference files",
        "preferred_output",
        input={"messages": [user()]},
        preferred_output=[_ANSWER],
        non_preferred_output=[_ANSWER],
    ),
    _line("Alpaca", "instruction", instruction="Judge it.", input="What a film.", output="positive"),
    _line(
        "ShareGPT", "conversations", conversations=[{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hi!"}]
    ),
    _line("this project's demo files", "input", input="What a film.", output="positive"),
    _line("batch files", "custom_id", custom_id="1", method="POST", url="/v1/chat/completions", body={}),
    _line("other capitals", "Prompt", Prompt="What a film.", Completion="positive"),
    _line("GLUE's pairs", "sentence2", sentence1="What a film.", sentence2="A good one.", label="same"),
    _line("TRL's conversational prompts", "prompt", prompt=[user()], completion=[_ANSWER]),
]
