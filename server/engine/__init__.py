"""The engine: token ids in, token ids out. Knows no text, no HTTP, no SQL."""
