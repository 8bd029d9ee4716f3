"""The admin key: how it may look, and the file that holds it."""

from __future__ import annotations

from pathlib import Path


def read_key_file(file: Path) -> str:
    """Read the key in a file. Raises ValueError."""
    try:
        key = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("cannot be read") from error
    check_admin_key(key)
    return key


def check_admin_key(key: str) -> None:
    """Raise ValueError unless the key fits into a header."""
    if not key or not all("!" <= character <= "~" for character in key):
        raise ValueError("must consist of visible ASCII characters, without spaces")
