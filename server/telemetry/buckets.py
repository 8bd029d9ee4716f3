"""Histogram buckets in seconds, those of OpenTelemetry's generative AI conventions (gen_ai.server.*)."""

from __future__ import annotations

REQUEST_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TIME_TO_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
TIME_PER_OUTPUT_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
INTER_TOKEN_LATENCY = (0.001, 0.0025, 0.005, *TIME_PER_OUTPUT_TOKEN)
"""Finer at the small end than the convention's time per output token: a decode step of a small model takes a few ms."""
