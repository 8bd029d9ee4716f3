from hypothesis import given, settings
from hypothesis import strategies as st

from server.tokenizer.stop_strings import StopMatcher

letters = st.text("ab\n", max_size=12)
stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


def run(stop, pieces):
    matcher = StopMatcher(stop)
    out = "".join(matcher.feed(piece) for piece in pieces)
    return out + ("" if matcher.stopped else matcher.flush()), matcher.stopped


def cut_at_first_complete(stop, text):
    """The plain meaning: read character by character until some stop string is complete."""
    for end in range(len(text) + 1):
        matches = [end - len(s) for s in stop if text[:end].endswith(s)]
        if matches:
            return text[: min(matches)], True
    return text, False


@settings(max_examples=300)
@given(stops, st.lists(letters, max_size=6))
def test_the_way_text_is_cut_does_not_matter(stop, pieces):
    """However the text arrives, it ends before the stop string that is complete first."""
    assert run(stop, pieces) == cut_at_first_complete(stop, "".join(pieces))


@settings(max_examples=200)
@given(stops, st.lists(letters, max_size=6))
def test_text_is_held_back_only_while_undecided(stop, pieces):
    """What is withheld is always the beginning of a stop string."""
    matcher = StopMatcher(stop)
    seen = told = ""
    for piece in pieces:
        seen += piece
        told += matcher.feed(piece)
        if matcher.stopped:
            break
        held = seen[len(told) :]
        assert seen.startswith(told)
        assert held == "" or any(s.startswith(held) for s in stop)


def test_a_stop_string_across_two_pieces_is_found():
    """Neither the stop string nor its first half is let through."""
    matcher = StopMatcher(["\n\nQ:"])
    assert matcher.feed("answer\n") == "answer"
    assert matcher.feed("\nQ") == ""
    assert matcher.feed(": next") == ""
    assert matcher.stopped
