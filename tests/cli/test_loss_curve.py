"""The losses of a run as one line of text."""

from server.cli.tuning.loss_curve import LossCurve


def curve_of(losses):
    curve = LossCurve()
    for loss in losses:
        curve.add(loss)
    return curve


def test_every_loss_has_a_character_while_there_is_room():
    """The highest is the fullest, in ASCII too."""
    curve = curve_of([8.0, 1.0, 4.5])
    assert (curve.first, curve.last) == (8.0, 4.5)
    assert curve.sparkline(10, ascii_only=False) == "█▁▅"
    assert curve.sparkline(10, ascii_only=True) == "@.+"


def test_a_flat_or_empty_curve_is_no_error():
    """Before the first step, and after the first."""
    assert curve_of([]).sparkline(10, ascii_only=False) == ""
    assert curve_of([3.0] * 3).sparkline(10, ascii_only=False) == "▁▁▁"


def test_a_very_long_run_takes_the_width_and_bounded_memory():
    """Neighbours are averaged, so the form stays."""
    curve = curve_of(range(100_000, 0, -1))
    assert curve.sparkline(8, ascii_only=False) == "█▇▆▅▄▃▂▁"
    assert len(curve._means) < 1024
