"""The content of a histogram as numbers."""

from prometheus_client import CollectorRegistry, Histogram

from server.telemetry.histogram_totals import HistogramTotals, totals_of


def test_buckets_are_cumulative_and_end_before_infinity():
    """A time above the last bound is in the count alone."""
    histogram = Histogram("times_seconds", "Times.", buckets=(0.5, 1.0), registry=CollectorRegistry())
    for seconds in (0.25, 0.75, 4.0):
        histogram.observe(seconds)
    assert totals_of(histogram) == HistogramTotals(3, 5.0, ((0.5, 1), (1.0, 2)))
