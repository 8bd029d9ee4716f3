"""Lines of the output file and of the error file, in OpenAI's format.

A line is `{"id", "custom_id", "response": {"status_code", "request_id", "body"} | null, "error": {…} | null}`.
"""

from __future__ import annotations

import json

from prompts_store.batch_records import LineResult
from server.batches.asker import LineAnswer
from server.batches.input_file import InputLine


def line_id(batch_id: int, line: InputLine) -> str:
    """The id of a line's request."""
    return f"batch_req_{batch_id}_{line.number}"


def answered(batch_id: int, line: InputLine, answer: LineAnswer) -> LineResult:
    """The result of a line that was asked. Every status but 200 goes to the error file."""
    name = line_id(batch_id, line)
    head = json.dumps({"id": name, "custom_id": line.custom_id})[:-1]
    response = f'{{"status_code": {answer.status}, "request_id": "{name}", "body": {answer.body}}}'
    return LineResult(line.number, f'{head}, "response": {response}, "error": null}}', is_error=answer.status != 200)


def never_asked(batch_id: int, line: InputLine, code: str, message: str) -> LineResult:
    """The result of a line that was not asked before its batch ended."""
    error = {"code": code, "message": message}
    whole = {"id": line_id(batch_id, line), "custom_id": line.custom_id, "response": None, "error": error}
    return LineResult(line.number, json.dumps(whole), is_error=True)
