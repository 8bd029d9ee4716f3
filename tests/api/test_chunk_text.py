"""What chunks have in common is written once, and changes no byte of them."""

from __future__ import annotations

from server.api.inference.chunk_text import ChunkText
from server.api.responses.json_response import json_text
from server.api.wire.completions import CompletionChoice, CompletionChunk


def test_a_chunk_is_written_as_its_model_writes_it():
    """Also where a client's text holds the words at which the frame is cut."""

    def chunk(choices):
        return CompletionChunk(
            id='"choices":[', object="text_completion", created=0, model='a"choices":[]', choices=choices, usage=None
        )

    choice = CompletionChoice(index=0, text='é"choices":[\n\u2028\x00', logprobs=None, finish_reason=None)
    text = ChunkText(chunk([]))
    assert text.of([choice]) == json_text(chunk([choice]))
    assert text.of([]) == json_text(chunk([]))
    assert text.of([choice, choice]) == json_text(chunk([choice, choice]))
