"""The engine's view: live figures, the cache by holder, and a server that goes away."""

import re
import threading

import pytest
from playwright.sync_api import expect

from tests.web.conftest import NARROW

TASKS = ("sentiment", "date-iso", "language")


@pytest.fixture
def engine(new_tab, server):
    """The view on the server without keys."""
    return new_tab(server.url, "#/engine")


@pytest.fixture
def load(api):
    """Requests of three tasks, as long as the test runs."""
    is_over = threading.Event()

    def ask(task: str) -> None:
        body = {"model": task, "prompt": "Vera Stone lives in Oslo", "max_tokens": 64, "ignore_eos": True, "n": 4}
        while not is_over.is_set():
            api.post("/v1/completions", json=body).raise_for_status()

    threads = [threading.Thread(target=ask, args=(task,)) for task in TASKS]
    for thread in threads:
        thread.start()
    yield
    is_over.set()
    for thread in threads:
        thread.join()


def figure(tab, label):
    """The value below a label."""
    return tab.page.locator(".stat", has=tab.page.get_by_text(label, exact=True)).locator("dd")


@pytest.mark.usefixtures("load")
def test_load_is_seen_as_it_happens(engine):
    """Tokens per second, tasks in the engine, soft prompts in use, and who holds the blocks."""
    expect(figure(engine, "Generated")).to_contain_text(re.compile(r"[1-9][\d,.]* tokens/s"))
    expect(figure(engine, "Time to first token")).to_contain_text(re.compile(r"\d"))
    tasks = engine.page.get_by_role("table", name="Tasks in the engine")
    prompts = engine.page.get_by_role("table", name="Resident soft prompts")
    for task in TASKS:
        expect(tasks.get_by_text(task, exact=True)).to_be_visible()
        expect(prompts.get_by_text(re.compile(f"^{task}(@|$)"))).to_be_visible()
        expect(engine.page.get_by_text(f"{task}: soft prompt").first).to_be_attached()
        expect(engine.page.get_by_text(f"{task}: running text").first).to_be_attached()
    engine.check_accessible()


def test_the_colours_of_the_cache_add_up(engine, api):
    """Each square belongs to a holder; the counts beside the holders are those of the API."""
    api.post("/v1/completions", json={"model": "sentiment", "prompt": "good"}).raise_for_status()
    expect(engine.page.get_by_role("img", name="KV blocks are held")).to_be_visible()
    total = api.get("/v1/engine").json()["kv_blocks"]["total"]
    counts = engine.page.locator(".engine-count").all_inner_texts()
    assert sum(int(count.replace(",", "")) for count in counts) == total
    assert engine.page.locator(".engine-blocks rect").count() == min(total, 480)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_narrow_screen(new_tab, server, scheme):
    """Nothing is wider than the window, in both themes."""
    tab = new_tab(server.url, "#/engine", viewport=NARROW, color_scheme=scheme)
    expect(tab.page.get_by_role("img", name="KV blocks are held")).to_be_visible()
    tab.check_no_overflow()
    tab.check_accessible()


def test_a_server_that_goes_away_is_told_and_the_last_state_stays(engine):
    """Once it answers again, the notice goes."""
    expect(engine.page.get_by_text("alive", exact=True)).to_be_visible()
    engine.page.route("**/v1/engine", lambda route: route.abort())
    expect(engine.page.get_by_text("What is shown below is the last state that was read.")).to_be_visible()
    expect(engine.page.get_by_text("not reached", exact=True)).to_be_visible()
    expect(engine.page.get_by_role("heading", name="Resident soft prompts")).to_be_visible()
    engine.page.unroute("**/v1/engine")
    expect(engine.page.get_by_text("alive", exact=True)).to_be_visible()


def test_counters_that_begin_again_begin_a_new_history(engine):
    """A restarted server's counters are lower: no rate is negative."""
    expect(engine.page.get_by_text("alive", exact=True)).to_be_visible()

    def restarted(route):
        answer = route.fetch()
        body = answer.json()
        body["started_at"] += 1_000
        body["time_s"] = 1.0
        body["counters"] = dict.fromkeys(body["counters"], 0)
        route.fulfill(response=answer, json=body)

    engine.page.route("**/v1/engine", restarted)
    expect(figure(engine, "Requests")).to_contain_text("0")
    expect(figure(engine, "Generated")).not_to_contain_text(re.compile(r"\d"))
