"""Queries about the plots of versions."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from prompts_store.sql import versions
from prompts_store.sql.tuning.tables import version_plots
from prompts_store.tuning_errors import PlotNotFound


def put(connection: Connection, fingerprint: str, task: str, version: int, png: bytes) -> None:
    """Store a version's plot, unless it has one. Raises TaskNotFound and VersionNotFound."""
    row = versions.row(connection, fingerprint, task, version)
    if connection.scalar(select(version_plots.c.version_id).where(version_plots.c.version_id == row.id)) is None:
        connection.execute(insert(version_plots).values(version_id=row.id, png=png))


def get(connection: Connection, fingerprint: str, task: str, version: int) -> bytes:
    """Return a live version's plot, a PNG. Raises TaskNotFound, VersionNotFound and PlotNotFound."""
    row = versions.row(connection, fingerprint, task, version)
    png: bytes | None = connection.scalar(select(version_plots.c.png).where(version_plots.c.version_id == row.id))
    if png is None:
        raise PlotNotFound(f'Version {version} of task "{task}" has no plot.')
    return png
