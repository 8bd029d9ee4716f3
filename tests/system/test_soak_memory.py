"""The line through a soak's memory, against numbers worked out elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from tests.system.soak.memory import Sample, fit, medians


def test_the_interval_is_that_of_least_squares():
    """Five points: slope 1.93, standard error 0.0526, t of three degrees of freedom 3.182."""
    line = fit([1, 2, 3, 4, 5], [2.1, 3.9, 6.2, 7.8, 9.8])
    slope, error = 1.93, np.sqrt(0.083 / 3 / 10)
    assert line.slope == pytest.approx(slope)
    assert line.half_interval == pytest.approx(3.182 * error, rel=0.03)
    assert line.high == line.slope + line.half_interval


def test_only_whole_windows_after_warm_up_are_judged():
    """One outlier in a window does not move its median."""
    samples = [Sample(float(at), 900.0 if at == 130 else 100.0 + at, 5.0, 1.0, at) for at in range(0, 300, 10)]
    points = medians(samples, warm_up_s=100, window_s=60)
    assert [round(point.time_s) for point in points] == [125, 185, 245]
    assert [point.resident_mib for point in points] == [230.0, 285.0, 345.0]
