"""Messages of `/v1/chat/completions`: what clients put beside a text, and how they write the text."""

from __future__ import annotations

from tests.api.stock_inputs.stock_input import answered, said, user

_EPHEMERAL = {"type": "ephemeral"}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
_CITATION = {
    "type": "url_citation",
    "url_citation": {"url": "https://example.com", "title": "a", "start_index": 0, "end_index": 1},
}

PUT_BACK = [
    answered(
        "openai, Python: model_dump()", refusal=None, annotations=None, audio=None, function_call=None, tool_calls=None
    ),
    answered("openai, Python: stream()", refusal=None, parsed=None, tool_calls=None),
    answered("openai, Node: parse()", parsed=None),
    answered("openai, Python: parse(), to_dict()", tool_calls=None, parsed=None),
    answered("OpenAI's own answers", refusal=None, annotations=[]),
    answered("LangChain, kept as JSON", name=None),
    answered("vLLM's answers", reasoning_content=None, tool_calls=[]),
    answered(
        "vLLM's newer answers",
        reasoning=None,
        tool_calls=[],
        refusal=None,
        annotations=None,
        audio=None,
        function_call=None,
    ),
    answered("LiteLLM's model_dump()", tool_calls=None, function_call=None, provider_specific_fields=None),
    answered("DeepSeek's clients", reasoning_content=""),
    answered("Mistral's clients", prefix=False),
    answered("OpenAI's refusals", "refusal", refusal="I cannot help with that."),
    answered("any agent", "tool_calls", tool_calls=[_CALL]),
    answered("any agent", "tool_calls", content=None, tool_calls=[_CALL]),
    answered("clients of the older interface", "function_call", function_call={"name": "look_up", "arguments": "{}"}),
    answered("voice clients", "audio", audio={"id": "audio_1"}),
    answered("OpenAI's search models", annotations=[_CITATION]),
    answered("DeepSeek's clients", "reasoning_content", reasoning_content="First, I look at the film."),
    answered("DeepSeek's prefix completion", "prefix", prefix=True),
    answered("agents whose step said nothing", content=""),
    answered("pydantic-ai, Vercel AI SDK", content=[{"type": "text", "text": "positive"}]),
    answered("OpenAI's guides", "content", content=[{"type": "refusal", "refusal": "No."}]),
]

MESSAGES = [
    said("AutoGen", None, user(name="user")),
    said("OpenAI's examples", None, {"role": "system", "name": "example_user", "content": "Answer in a word."}),
    said("LangChain, kept as JSON", None, user(name=None)),
    said("user interfaces with no system prompt set", None, {"role": "system", "content": ""}),
    said("openai's newer roles", None, {"role": "developer", "content": "Answer in a word."}),
    said(
        "LiteLLM, aider: caching", None, user([{"type": "text", "text": "What a film.", "cache_control": _EPHEMERAL}])
    ),
    said(
        "Cline: caching",
        None,
        {"role": "system", "content": [{"type": "text", "text": "Hi.", "cache_control": _EPHEMERAL}]},
    ),
    said("LiteLLM: caching", None, user(cache_control=_EPHEMERAL)),
    said("SGLang's bench", None, user([{"type": "text", "text": "What a film."}])),
    said(
        "Open WebUI: several pieces",
        None,
        user([{"type": "text", "text": "What"}, {"type": "text", "text": " a film."}]),
    ),
    said("proxies that pass every field on", None, user(tool_calls=None, tool_call_id=None, function_call=None)),
    said(
        "few-shot clients",
        None,
        user(),
        {"role": "assistant", "content": "positive"},
        {"role": "system", "content": "Go on."},
        user(),
    ),
    said("any agent", "role", {"role": "tool", "tool_call_id": "call_1", "content": "42"}),
    said("clients of the older interface", "role", {"role": "function", "name": "look_up", "content": "42"}),
    said(
        "vision clients", "content", user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])
    ),
    said("voice clients", "content", user([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])),
    said("openai's file inputs", "content", user([{"type": "file", "file": {"file_id": "file-1"}}])),
    said("clients of the Responses interface", "content", user([{"type": "input_text", "text": "What a film."}])),
    said("CodeCompanion", "opts", user(id=1947269257, opts={"visible": False})),
    said("odysseus", "metadata", user(metadata={"_db_id": "7ce1f0b3"})),
    said("user interfaces that keep times", "timestamp", user(timestamp=1732000000)),
]

CONVERSATIONS = [*PUT_BACK, *MESSAGES]
