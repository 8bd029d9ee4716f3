"""The playground: streams, side by side, classifications, log-probabilities, and code to copy."""

import json
import subprocess

import pytest
from playwright.sync_api import expect

DATE = "the 4th of July 1976"


@pytest.fixture
def playground(tab):
    """The view, with nothing typed yet."""
    expect(tab.heading("Playground")).to_be_visible()
    return tab


def ask(tab, task, text, kind="Complete"):
    """Choose and type as a person does."""
    tab.page.get_by_label(kind, exact=True).check()
    tab.page.get_by_label("Task", exact=True).select_option(task)
    tab.page.get_by_label("Input").fill(text)
    tab.button("Classify" if kind == "Classify" else "Ask").click()


def card(tab, name):
    """The answer of a task."""
    return tab.page.locator(".panel", has=tab.page.get_by_role("heading", level=2, name=name, exact=True))


@pytest.mark.parametrize("kind", ["Complete", "Chat"])
def test_an_answer_streams_and_is_measured(playground, kind):
    """With the version that answered."""
    ask(playground, "date-iso", DATE, kind)
    answer = card(playground, "date-iso")
    expect(answer.get_by_text("1976-07-04")).to_be_visible()
    expect(answer.get_by_text("version 1", exact=True)).to_be_visible()
    expect(answer.get_by_text("first token after")).to_contain_text("tokens/s")


def test_several_tasks_answer_side_by_side(playground, api):
    """The same input, for a task, one of its versions and the bare base model."""
    base = api.get("/v1/models").json()["data"][0]["id"]
    playground.page.get_by_label("Task", exact=True).select_option("date-iso")
    playground.button("Compare with another").click()
    playground.page.get_by_label("Task 2").select_option(base)
    playground.button("Compare with another").click()
    playground.page.get_by_label("Task 3").select_option("date-iso")
    playground.page.get_by_label("Version").nth(1).select_option("1")
    playground.page.get_by_label("Input").fill(DATE)
    playground.page.keyboard.press("Control+Enter")
    expect(card(playground, "date-iso").get_by_text("1976-07-04")).to_be_visible()
    expect(card(playground, "date-iso@1").get_by_text("1976-07-04")).to_be_visible()
    expect(card(playground, base).get_by_text("generated")).to_be_visible()
    playground.check_accessible()


def test_a_classification_has_a_bar_for_each_label(playground):
    """The likeliest first; together they are 1."""
    ask(playground, "sentiment", "I loved this film", "Classify")
    bars = card(playground, "sentiment").get_by_role("listitem")
    expect(bars).to_have_count(2)
    expect(bars.first).to_contain_text("positive")
    shares = [float(bar.locator(".bar-value").inner_text().split()[0]) for bar in bars.all()]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.2)


def test_a_token_shows_what_else_could_have_come(playground):
    """On hover, and with the keyboard by a slider."""
    ask(playground, "date-iso", DATE)
    answer = card(playground, "date-iso")
    answer.locator(".playground-token").first.hover()
    bars = answer.get_by_label("What could have come here").get_by_role("listitem")
    expect(bars).to_have_count(4)
    expect(bars.first).to_contain_text("log -")
    answer.get_by_role("slider").press("ArrowRight")
    expect(answer.locator(".playground-token.picked")).to_have_text("9")


def test_the_snippet_does_the_same_in_a_terminal(playground):
    """A quote in the input included."""
    ask(playground, "date-iso", f"it's {DATE}")
    expect(card(playground, "date-iso").get_by_text("first token after")).to_be_visible()
    command = playground.page.get_by_label("For a terminal", exact=True).inner_text()
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["text"] == "1976-07-04"
    for language in ("Python", "TypeScript"):
        playground.page.get_by_role("tab", name=language).click()
        expect(playground.page.get_by_role("tabpanel")).to_contain_text('"date-iso"')


def test_what_was_typed_outlives_a_reload(playground):
    """And another view in between."""
    ask(playground, "language", "guten Tag")
    playground.page.get_by_role("link", name="Engine").click()
    playground.page.get_by_role("link", name="Playground").click()
    playground.page.reload()
    expect(playground.page.get_by_label("Input")).to_have_value("guten Tag")
    expect(playground.page.get_by_label("Task", exact=True)).to_have_value("language")


def test_a_refusal_is_told_in_its_own_card(playground):
    """The other answer comes all the same; a parameter's fault stands at its field."""
    playground.page.get_by_label("Maximum tokens").fill("many")
    ask(playground, "date-iso", DATE)
    expect(card(playground, "date-iso").get_by_role("alert")).to_contain_text("max_tokens")
    expect(playground.page.get_by_label("Maximum tokens")).to_have_attribute("aria-invalid", "true")


def test_a_stream_that_breaks_off_keeps_what_had_arrived(playground):
    """And says so where it happened."""
    event = 'data: {"choices":[{"index":0,"text":"1976-","logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    playground.page.route(
        "**/v1/completions", lambda route: route.fulfill(content_type="text/event-stream", body=event)
    )
    ask(playground, "date-iso", DATE)
    answer = card(playground, "date-iso")
    expect(answer.get_by_text("The connection broke in the middle of the answer.")).to_be_visible()
    expect(answer.get_by_text("1976-", exact=True)).to_be_visible()
    expect(playground.page.get_by_label("Input")).to_have_value(DATE)


def test_a_running_answer_can_be_stopped(playground):
    """Then another question can be asked."""
    playground.page.route("**/v1/completions", lambda route: None)
    ask(playground, "date-iso", DATE)
    playground.button("Stop").click()
    expect(card(playground, "date-iso").get_by_text("stopped")).to_be_visible()
    expect(playground.button("Ask")).to_be_enabled()
