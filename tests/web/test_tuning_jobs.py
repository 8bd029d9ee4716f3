"""A tuning job in the page: its progress, its failures, and what comes of it."""

import json
import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.web.browser import MARKUP
from tests.web.conftest import NARROW
from tests.web.tuning_jobs import LONG_MS, QUICK, ROWS, choose, jsonl, start_job, wait_for

ENDLESS = QUICK | {"num_steps": 100_000, "validate_every": 50_000}


@pytest.fixture(scope="module")
def done(server):
    """A job that has ended: its task has one version, in production."""
    with httpx.Client(base_url=server.url, timeout=60) as api:
        return wait_for(api, start_job(api, "done"), "succeeded")


def test_a_job_is_paused_resumed_and_cancelled(new_tab, server, api):
    """Each button does what it says; cancelling is asked for first, and Escape keeps the job."""
    job = start_job(api, "long", hyperparameters=ENDLESS)
    tab = new_tab(server.url, f"#/tuning/{job['id']}")
    expect(tab.page.get_by_text(re.compile("Every step"))).to_be_visible()
    wait_for(api, job, "running")
    tab.button("Pause").click()
    expect(tab.page.get_by_text("What it has learnt is kept; resume it to go on.")).to_be_visible(timeout=LONG_MS)
    tab.button("Resume").click()
    expect(tab.button("Pause")).to_be_visible(timeout=LONG_MS)
    wait_for(api, job, "running")
    tab.button("Cancel").click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    expect(tab.button("Cancel")).to_be_focused()
    tab.button("Cancel").click()
    tab.check_accessible()
    tab.button("Cancel the job").click()
    expect(tab.page.get_by_text("cancelled", exact=True)).to_be_visible(timeout=LONG_MS)
    assert wait_for(api, job, "cancelled")["version"] is None
    expect(tab.button("Pause")).to_have_count(0)


def test_a_failed_job_says_why_and_what_to_do(new_tab, server, api):
    """A resume that is refused is told where it was asked for."""
    job = start_job(api, "broken", rows=[*ROWS, {"text": "a"}])
    wait_for(api, job, "failed")
    tab = new_tab(server.url, f"#/tuning/{job['id']}")
    alert = tab.page.get_by_role("alert")
    expect(alert).to_contain_text("Line 41: has a text but no label.")
    expect(alert).to_contain_text("Correct the line in the file, then start a new job.")
    tab.check_accessible()
    tab.button("Resume").click()
    expect(alert).to_have_count(2)


def test_a_run_that_goes_on_past_its_plan_shows_the_new_plan(new_tab, server, done):
    """As the log's event says; repeated steps count once."""
    log = [
        {"type": "extension", "step": 10, "num_steps": 15},
        *({"type": "step", "step": n, "num_steps": 10, "loss": 1 / n, "grad_norm": 1.0} for n in (10, 9, 10, 9, 8)),
    ]
    events = [
        {
            "id": f"ftevent-{90 - place}",
            "created_at": 1_700_000_000 - place,
            "level": "info",
            "type": "metrics",
            "data": data,
            "message": f"Event {data['type']}.",
        }
        for place, data in enumerate(log)
    ]
    tab = new_tab(server.url, "#/tuning")
    tab.page.route(
        "**/events?*", lambda route: route.fulfill(json={"object": "list", "data": events, "has_more": False})
    )
    tab.go(f"#/tuning/{done['id']}")
    expect(tab.page.locator(".stat", has_text="Step").first).to_contain_text("10 of 15")
    expect(tab.page.get_by_text("Event extension.")).to_be_visible()


def test_an_unreachable_server_is_told_and_the_page_goes_on(new_tab, server, done):
    """What was known stays; a job that there is not says so."""
    tab = new_tab(server.url, f"#/tuning/{done['id']}")
    expect(tab.heading("done")).to_be_visible()
    tab.page.route("**/v1/fine_tuning/**", lambda route: route.abort())
    tab.page.evaluate("dispatchEvent(new Event('visibilitychange'))")
    expect(tab.page.get_by_text("The page shows what was known before")).to_be_visible(timeout=15_000)
    expect(tab.heading("done")).to_be_visible()
    tab.page.unroute("**/v1/fine_tuning/**")
    tab.button("Try again").click()
    expect(tab.page.get_by_text("The page shows what was known before")).to_have_count(0)
    tab.go("#/tuning/ftjob-999")
    expect(tab.page.get_by_text("There is no job ftjob-999")).to_be_visible()


# --- its result -------------------------------------------------------------------------------------------------------


def test_a_result_is_compared_and_moved_into_production(new_tab, server, api, done):
    """Three answers to each input; a move that somebody else overtook is told, and can be decided again."""
    job = wait_for(api, start_job(api, "done", seed=7), "succeeded")
    assert job["version"] == 2
    tab = new_tab(server.url, f"#/tuning/{job['id']}")
    answers = tab.page.get_by_role("table", name="Answers side by side")
    expect(answers.get_by_role("columnheader")).to_have_text(
        ["Input", "Expected", "Version 2", "Production", "Base model"]
    )
    expect(answers.get_by_text(re.compile("right|wrong"))).to_have_count(12, timeout=LONG_MS)
    tab.page.get_by_label("An input of your own").fill("what a lovely hat")
    tab.button("Ask all").click()
    row = answers.get_by_role("row", name="what a lovely hat")
    expect(row.get_by_role("cell")).to_have_count(5)
    expect(row.get_by_text(re.compile("^(whisper|shout)$"))).to_have_count(3, timeout=LONG_MS)
    expect(tab.page.get_by_text("Production is version 1.")).to_be_visible()
    tab.button("Move production to version 2").click()
    etag = api.get("/v1/tasks/done/aliases/production").headers["etag"]
    moved = api.put("/v1/tasks/done/aliases/production", json={"version": 1, "reason": "x"}, headers={"if-match": etag})
    assert moved.status_code == 200
    tab.page.get_by_label("Reason").fill("better on hats")
    tab.button("Move production").click()
    expect(tab.page.get_by_role("dialog")).to_contain_text("Somebody changed it meanwhile.")
    expect(tab.page.get_by_label("Reason")).to_have_value("better on hats")
    tab.check_accessible()
    tab.button("Move production").click()
    expect(tab.page.get_by_text("Production was moved.")).to_be_visible()
    alias = api.get("/v1/tasks/done/aliases/production").json()
    assert (alias["version"], alias["reason"]) == (2, "better on hats")


def test_what_a_key_may_not_do_is_not_offered(new_tab, guarded_server, admin):
    """A key for tuning only starts jobs, and neither asks versions nor moves them."""
    job = wait_for(admin, start_job(admin, "guarded"), "succeeded")
    key = admin.post("/v1/keys", json={"name": "tuner", "scopes": ["tune"]}).json()["key"]
    tab = new_tab(guarded_server.url, f"#/tuning/{job['id']}")
    tab.page.get_by_label("Key", exact=True).fill(key)
    tab.button("Use the key").click()
    expect(tab.page.get_by_text('Asking the version needs a key with the scope "infer".')).to_be_visible()
    expect(tab.page.get_by_role("button", name=re.compile("Move production"))).to_have_count(0)
    tab.go("#/tuning")
    choose(tab, jsonl(ROWS))
    expect(tab.page.get_by_text("Example 1")).to_be_visible()
    tab.check_accessible()


def test_hostile_texts_stay_texts(new_tab, server, api):
    """In lines, labels, columns, file names and answers: on the form, and on the job's page."""
    rows = [row | {"label": f"{MARKUP}{row['label']}", MARKUP: 1} for row in ROWS]
    tab = new_tab(server.url, "#/tuning")
    choose(tab, jsonl([{**row, "text": f"{MARKUP}{row['text']}"} for row in rows]), f"{MARKUP.replace('/', ' ')}.jsonl")
    expect(tab.page.get_by_text("Example 1")).to_be_visible()
    tab.check_no_markup()
    tab.button("Remove").click()
    choose(tab, json.dumps({MARKUP: 1}).encode())
    expect(tab.page.get_by_role("alert")).to_contain_text("has the keys …, but not prompt")
    tab.check_no_markup()
    job = wait_for(api, start_job(api, "hostile", rows=rows, template=f"{MARKUP}{{input}}", note=MARKUP), "succeeded")
    tab.go(f"#/tuning/{job['id']}")
    expect(tab.page.get_by_text(re.compile("right|wrong")).first).to_be_visible(timeout=LONG_MS)
    tab.check_no_markup()
    tab.check_accessible()


def test_a_phone_shows_long_names_and_texts_without_scrolling_sideways(new_tab, server, api):
    """A task of 63 characters, a label and an input without a space."""
    rows = [{"text": f"{n}" + "x" * 300, "label": ("y" if n % 2 else "n") * 60} for n in range(12)]
    task = "t" * 63
    job = wait_for(api, start_job(api, task, rows=rows), "succeeded")
    tab = new_tab(server.url, f"#/tuning/{job['id']}", viewport=NARROW)
    expect(tab.page.get_by_text(re.compile("right|wrong")).first).to_be_visible(timeout=LONG_MS)
    tab.check_no_overflow()
    tab.check_accessible()
    tab.go("#/tuning")
    choose(tab, jsonl(rows))
    expect(tab.page.get_by_text("Example 1")).to_be_visible()
    tab.check_no_overflow()
    expect(tab.page.get_by_role("link", name=task)).to_be_visible()


def test_the_list_follows_the_jobs(new_tab, server, api, done):
    """A job that ends elsewhere shows its state and its score without a reload."""
    tab = new_tab(server.url, "#/tuning")
    job = start_job(api, "listed")
    tab.page.reload()
    row = tab.page.get_by_role("table", name="Tuning jobs").get_by_role("row").filter(has_text=job["id"])
    expect(row).to_contain_text("succeeded", timeout=LONG_MS)
    expect(row).to_contain_text("version 1")
    row.get_by_role("link", name="listed").click()
    expect(tab.heading("listed")).to_be_visible()
