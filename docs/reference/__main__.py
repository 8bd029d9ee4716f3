"""Write every page of the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.reference.command_line_page import command_line_page
from docs.reference.metrics_page import metrics_page
from docs.reference.routes_page import routes_page
from docs.reference.settings_page import settings_page

FOLDER = Path(__file__).parent
PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "command-line.md": command_line_page,
    "routes.md": routes_page,
    "metrics.md": metrics_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
