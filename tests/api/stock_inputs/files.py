"""Multipart bodies of `/v1/files`, byte for byte: each HTTP library writes them in its own way."""

from __future__ import annotations

from tests.api.stock_inputs.stock_input import FILES, StockInput

_LINES = b'{"text":"a","label":"x"}\n{"text":"b","label":"y"}\n'
_PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune'


def _file(
    head: str = '; filename="train.jsonl"', kind: str = "application/octet-stream", content: bytes = _LINES
) -> bytes:
    declared = f"\r\nContent-Type: {kind}" if kind else ""
    return f'Content-Disposition: form-data; name="file"{head}{declared}\r\n\r\n'.encode() + content


def _field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def _upload(
    name: str, client: str, *parts: bytes, refused: str | None = None, boundary: str = "xYzZY", status: int = 400
) -> StockInput:
    body = b"".join(b"--xYzZY\r\n" + part + b"\r\n" for part in parts) + b"--xYzZY--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return StockInput(f"file: {name}", client, "POST", FILES, body, refused, status, headers)


UPLOADS = [
    _upload("the purpose first", "openai, Python", _PURPOSE, _file()),
    _upload("the file first", "openai, Node", _file(), _PURPOSE),
    _upload("no end of the name", "scripts", _PURPOSE, _file('; filename="train"')),
    _upload(
        "application/json", "curl -F of a .json file", _PURPOSE, _file('; filename="train.json"', "application/json")
    ),
    _upload("text/plain", "Java's HttpClient", _PURPOSE, _file(kind="text/plain; charset=UTF-8")),
    _upload("no type", "Go's CreateFormField", _PURPOSE, _file(kind="")),
    _upload(
        "a type at the purpose",
        "Java's and .NET's clients",
        b"Content-Type: text/plain; charset=utf-8\r\n" + _PURPOSE,
        _file(),
    ),
    _upload(
        "names without quotes",
        ".NET's HttpClient",
        b"Content-Disposition: form-data; name=purpose\r\n\r\nfine-tune",
        b"Content-Disposition: form-data; name=file; filename=train.jsonl; filename*=utf-8''train.jsonl\r\n\r\n"
        + _LINES,
    ),
    _upload("a boundary in quotes", ".NET's HttpClient", _PURPOSE, _file(), boundary='"xYzZY"'),
    _upload("a length at each part", "OkHttp", b"Content-Length: 9\r\n" + _PURPOSE, _file()),
    _upload("a transfer encoding", "Apache's HttpClient", b"Content-Transfer-Encoding: 8bit\r\n" + _PURPOSE, _file()),
    _upload(
        "a name with spaces and letters of its own", "browsers", _PURPOSE, _file('; filename="mes données (1).jsonl"')
    ),
    _upload("a name with escaped line ends", "browsers", _PURPOSE, _file('; filename="a%0D%0Ab.jsonl"')),
    _upload("a path as the name", "older browsers", _PURPOSE, _file('; filename="C:\\\\data\\\\train.jsonl"')),
    _upload("a byte order mark", "Notepad, Excel", _PURPOSE, _file(content=b"\xef\xbb\xbf" + _LINES)),
    _upload("CRLF lines", "Windows", _PURPOSE, _file(content=_LINES.replace(b"\n", b"\r\n"))),
    _upload("blank lines at the end", "editors", _PURPOSE, _file(content=_LINES + b"\n  \n\n")),
    _upload("no newline at the end", "editors", _PURPOSE, _file(content=_LINES.rstrip())),
    _upload(
        "expires_after",
        "openai, Python: expires_after",
        _PURPOSE,
        _field("expires_after[anchor]", "created_at"),
        _field("expires_after[seconds]", "3600"),
        _file(),
        refused="expires_after",
    ),
    _upload(
        "one field of expires_after",
        "scripts",
        _PURPOSE,
        _field("expires_after[seconds]", "3600"),
        _file(),
        refused="expires_after",
    ),
    _upload(
        "an unknown field",
        "LiteLLM's proxy",
        _PURPOSE,
        _field("target_model_names", "a,b"),
        _file(),
        refused="target_model_names",
    ),
    _upload(
        "two unknown fields",
        "LiteLLM's proxy",
        _PURPOSE,
        _field("target_model_names", "a,b"),
        _field("user", "me"),
        _file(),
        refused="target_model_names",
    ),
    _upload("the purpose misspelt", "scripts", _field("purpose", "fine_tune"), _file(), refused="purpose"),
    _upload("a purpose of results", "scripts", _field("purpose", "fine-tune-results"), _file(), refused="purpose"),
    _upload("another purpose", "openai, Python", _field("purpose", "vision"), _file(), refused="purpose"),
    _upload("no purpose", "curl", _file(), refused="purpose"),
    _upload("no file", "curl without an @", _PURPOSE, _field("file", "train.jsonl"), refused="file"),
    _upload("the purpose twice", "scripts", _PURPOSE, _PURPOSE, _file(), refused="purpose"),
    _upload("two files", "curl", _PURPOSE, _file(), _file(), refused="file"),
    _upload("an empty file", "scripts", _PURPOSE, _file(content=b""), refused="file"),
    StockInput("file: JSON in place of a form", "scripts", "POST", FILES, {"purpose": "fine-tune"}, "", 415),
]
