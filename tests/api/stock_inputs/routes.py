"""Paths, queries and headers: lists as clients ask for them, and what they send beside a body."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.api.stock_inputs.stock_input import CHAT, COMPLETIONS, FILES, JOBS, StockInput, chat, get

_BODY = chat("", name="plain").body
_JSON = json.dumps(_BODY).encode()


def _sent(name: str, client: str, **headers: str) -> StockInput:
    """The same chat with other headers."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return StockInput(
        f"headers: {name}", client, "POST", CHAT, _JSON, headers={"content-type": "application/json"} | named
    )


HEADERS = [
    _sent("a key that says nothing", "vLLM's examples", authorization="Bearer EMPTY"),
    _sent("no key after Bearer", "forms of user interfaces", authorization="Bearer"),
    _sent("organization and project", "openai", openai_organization="org-1", openai_project="proj-1"),
    _sent("beta", "openai", openai_beta="assistants=v2"),
    _sent("Azure's key", "Azure's clients", api_key="unused"),
    _sent("OpenRouter's titles", "Cline", http_referer="https://example.com", x_title="ours"),
    _sent(
        "stainless", "openai", x_stainless_lang="python", x_stainless_retry_count="0", x_stainless_read_timeout="600"
    ),
    _sent("an idempotency key", "openai, Node", idempotency_key="stainless-node-retry-1"),
    _sent("accept anything", "curl", accept="*/*"),
    _sent("accept a stream", "LangChain4j", accept="text/event-stream"),
    _sent("accept JSON alone, of a stream", ".NET's client", accept="application/json"),
    _sent("a charset", "requests of Java", content_type="application/json; charset=utf-8"),
    _sent("a charset in capitals", ".NET's HttpClient", content_type="application/json; charset=UTF-8"),
    replace(
        _sent("curl -d without a type", "curl", content_type="application/x-www-form-urlencoded"),
        refused="",
        status=415,
    ),
    replace(_sent("a byte order mark", "PowerShell"), body=b"\xef\xbb\xbf" + _JSON),
    replace(_sent("UTF-16", "PowerShell"), body=json.dumps(_BODY).encode("utf-16")),
]

LISTS = [
    get("openai's older pages", "/v1/models?limit=20", "limit"),
    get("Azure's clients", "/v1/models?api-version=2024-10-21", "api-version"),
    get("monitors", "/v1/models", "", method="HEAD", status=405),
    get("openai, Python", f"{FILES}?limit=20&order=desc"),
    get("forms of user interfaces", f"{FILES}?after="),
    get("forms of user interfaces", f"{FILES}?purpose="),
    get("OpenAI's own default", f"{FILES}?limit=10000", "limit"),
    get("openai, Python", f"{FILES}?purpose=batch"),
    get("openai, Python", f"{FILES}?order=newest", "order"),
    get("openai, Python", f"{JOBS}?limit=20"),
    get("forms of user interfaces", f"{JOBS}?after="),
    get("forms of user interfaces", f"{JOBS}?limit=&metadata="),
    get("forms of user interfaces", f"{FILES}?limit=&order=&after=&purpose="),
    get("openai, Python: metadata", f"{JOBS}?metadata%5Bteam%5D=ours", "metadata"),
    get("OpenAI's reference: jobs without metadata", f"{JOBS}?metadata=null", "metadata"),
    get("the Assistants' pages", f"{FILES}?before=file-1", "before"),
    get("stored chats", f"{CHAT}?limit=20", "", status=405),
    get("a request for embeddings without a body", "/v1/embeddings", "body", method="POST"),
    get("Vercel AI SDK's openai()", "/v1/responses", "", method="POST", status=404),
    get("a base URL without its version", "/chat/completions", "", method="POST", status=404),
    get("browsers", COMPLETIONS, "", method="OPTIONS", status=405),
]

ROUTES = [*HEADERS, *LISTS]
