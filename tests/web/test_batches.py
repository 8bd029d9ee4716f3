"""Batches in the page: a file of requests is chosen, shown and started; its progress, its files and its end."""

import json
import re
import time

import pytest
from playwright.sync_api import expect

from tests.web.browser import MARKUP
from tests.web.conftest import ADMIN_KEY, NARROW, WIDE
from tests.web.tuning_jobs import LONG_MS, choose, drop

TEXTS = b"I loved this film\n\na waste of money\n"
LONG = {"model": "sentiment", "prompt": "a", "max_tokens": 200, "ignore_eos": True}


def line(custom_id, url="/v1/completions", **body):
    """A line of the API."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def start_batch(api, lines, name="requests.jsonl", **more):
    """Create a batch over the API."""
    data = "\n".join(json.dumps(one) for one in lines).encode()
    uploaded = api.post("/v1/files", files={"file": (name, data)}, data={"purpose": "batch"})
    body = {"input_file_id": uploaded.json()["id"], "endpoint": lines[0]["url"], "completion_window": "24h"}
    response = api.post("/v1/batches", json=body | more)
    assert response.status_code == 200, response.text
    return response.json()


def ended(api, batch):
    """A batch, once it has ended."""
    deadline = time.monotonic() + LONG_MS / 1000
    while True:
        found = api.get(f"/v1/batches/{batch['id']}").json()
        if found["status"] in ("completed", "failed", "expired", "cancelled"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def saved(tab, button):
    """The lines of the file that a button saves, and its name."""
    with tab.page.expect_download() as info:
        tab.button(button).click()
    text = info.value.path().read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line], info.value.suggested_filename


def made_up(**more):
    """A batch as the API would say it."""
    counts = {"total": 4000, "completed": 1000, "failed": 10}
    return {
        "id": "batch-7", "object": "batch", "endpoint": "/v1/completions", "errors": None, "input_file_id": "file-9999",
        "completion_window": "24h", "status": "in_progress", "output_file_id": None, "error_file_id": None,
        "created_at": int(time.time()) - 60, "in_progress_at": int(time.time()) - 50,
        "expires_at": int(time.time()) + 86_000, "finalizing_at": None, "completed_at": None, "failed_at": None,
        "expired_at": None, "cancelling_at": None, "cancelled_at": None, "request_counts": counts,
        "created_by": "anonymous", "metadata": None, **more,
    }  # fmt: skip


@pytest.fixture
def batches(new_tab, server):
    """The view."""
    tab = new_tab(server.url, "#/batches")
    expect(tab.page.get_by_text("Nothing is sent before you start it.")).to_be_visible()
    return tab


def test_a_dropped_file_becomes_a_batch_whose_answers_are_saved(batches, api):
    """Plain texts get the chosen task; the lines are shown as they are sent; the list has the batch."""
    page = batches.page
    drop(batches, TEXTS, "films.txt")
    expect(page.get_by_text("2 lines · plain texts")).to_be_visible()
    expect(batches.button("Start the batch")).to_be_disabled()
    expect(page.get_by_text("Choose a task to start.")).to_be_visible()
    page.get_by_label("Task").select_option("sentiment")
    shown = page.get_by_role("heading", name="The lines as they are sent").locator("..")
    expect(shown.get_by_role("listitem").nth(1)).to_contain_text('"url":"/v1/completions","body":{"model":"sentiment"')
    batches.check_accessible()
    batches.button("Start the batch").click()
    expect(batches.heading("films.txt")).to_be_visible()
    expect(page.get_by_text("completed", exact=True)).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("2 answers, in the order of the input.")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "2 lines")
    answers, name = saved(batches, "Download the answers")
    texts = [one["response"]["body"]["choices"][0]["text"] for one in answers]
    assert (texts, [one["custom_id"] for one in answers]) == (["positive", "negative"], ["line-1", "line-3"])
    requests, requested = saved(batches, "Download the requests")
    assert (len(requests), requested) == (2, "films.txt")
    expect(batches.button("Download the errors")).to_have_count(0)
    expect(batches.button("Cancel")).to_have_count(0)
    batches.check_accessible()
    assert re.fullmatch(r"batch-\d+-answers.jsonl", name)
    page.get_by_role("link", name="Batches").last.click()
    row = page.get_by_role("table", name="Batches").get_by_role("row", name="films.txt")
    expect(row).to_contain_text("completed")
    expect(row).to_contain_text("anonymous")
    expect(page.get_by_text("films.txt", exact=True)).to_have_count(1)  # the form is empty again


def test_lines_of_the_api_go_as_they_are_and_their_errors_are_saved(batches, api):
    """The endpoint comes from the file; a line that fails is in the file of errors."""
    lines = [
        line("good", "/v1/classify", model="language", input="hello"),
        line("bad", "/v1/classify", model="no-such", input="x"),
    ]
    data = "\n".join(json.dumps(one) for one in lines).encode()
    choose(batches, data, "classify.jsonl")
    endpoint = batches.page.get_by_label("Endpoint")
    expect(endpoint).to_have_value("/v1/classify")
    expect(endpoint).to_be_disabled()
    batches.button("Start the batch").click()
    expect(batches.page.get_by_text("1 line failed.")).to_be_visible(timeout=LONG_MS)
    (error,), name = saved(batches, "Download the errors")
    assert error["custom_id"] == "bad" and error["response"]["status_code"] == 404 and name.endswith("-errors.jsonl")
    newest = api.get("/v1/batches").json()["data"][0]
    assert api.get(f"/v1/files/{newest['input_file_id']}/content").content == data


def test_a_wrong_file_is_refused_in_the_servers_words(batches):
    """By the number of the line in the file that was chosen, empty lines counted; the file can be chosen again."""
    choose(batches, b'{"prompt": "a"}\n\n{oops\n{"custom_id": 5, "prompt": "a"}\n{"prompt": "a", "stream": true}\n')
    batches.page.get_by_label("Task").select_option("sentiment")
    batches.button("Start the batch").click()
    alert = batches.page.get_by_role("alert")
    expect(alert).to_contain_text("The server refused the file: no line was asked", timeout=LONG_MS)
    for words in ("Line 3: This line ", "Line 4: custom_id must be a text", "Line 5: A batch has whole answers"):
        expect(alert).to_contain_text(words)
    expect(batches.page.get_by_text("refused", exact=True)).to_be_visible()
    batches.check_accessible()


def test_a_file_that_the_server_does_not_take_is_told_at_the_form(batches):
    """An empty one by its upload; what a browser would change is not sent at all."""
    choose(batches, b"", "empty.jsonl")
    batches.button("Start the batch").click()
    expect(batches.page.get_by_role("alert")).to_contain_text("The file is empty.")
    batches.button("Remove").click()
    choose(batches, b'{"prompt": "a", "seed": 12345678901234567890}')
    expect(batches.page.get_by_role("alert")).to_contain_text("Line 1 has a number of more than 15 digits")
    expect(batches.button("Start the batch")).to_have_count(0)


def test_a_batch_is_cancelled_after_a_question(new_tab, server, api):
    """Escape keeps it. What was answered until then can be saved, and the rest is told."""
    batch = start_batch(api, [line(f"n{number}", **LONG) for number in range(3000)], "long.jsonl")
    tab = new_tab(server.url, f"#/batches/{batch['id']}")
    expect(tab.page.get_by_role("progressbar")).to_be_visible(timeout=LONG_MS)
    tab.button("Cancel").click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    expect(tab.button("Cancel")).to_be_focused()
    tab.button("Cancel").click()
    tab.check_accessible()
    tab.button("Cancel the batch").click()
    expect(tab.page.get_by_text("cancelled", exact=True)).to_be_visible(timeout=LONG_MS)
    expect(tab.page.get_by_text(re.compile("lines were never asked"))).to_be_visible()
    counts = ended(api, batch)["request_counts"]
    assert counts["completed"] < counts["total"] == 3000
    errors, _ = saved(tab, "Download the errors")
    assert {one["error"]["code"] for one in errors} == {"batch_cancelled"}


def test_progress_is_shown_while_it_happens(new_tab, server):
    """The bar, the counts and the time left follow the server, until the batch has ended."""
    tab = new_tab(server.url, "#/batches")
    answer = made_up()
    tab.page.route("**/v1/batches/batch-7", lambda route: route.fulfill(json=answer))
    tab.go("#/batches/batch-7")
    expect(tab.heading("batch-7")).to_be_visible()
    bar = tab.page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "1010")
    expect(tab.page.locator(".stat", has_text="Time left")).to_contain_text("min")
    answer = made_up(request_counts={"total": 4000, "completed": 2000, "failed": 20})
    expect(bar).to_have_attribute("aria-valuenow", "2020")
    answer = made_up(
        status="completed",
        completed_at=int(time.time()),
        request_counts={"total": 4000, "completed": 3970, "failed": 30},
    )
    expect(tab.page.get_by_text("4,000 lines, 30 failed")).to_be_visible()
    expect(tab.page.locator(".stat", has_text="Took")).to_contain_text("1 min 0 s")


def test_an_unreachable_server_is_told_and_the_page_goes_on(new_tab, server):
    """What was known stays; a batch that there is not says so."""
    tab = new_tab(server.url, "#/batches")
    tab.page.route("**/v1/batches/batch-7", lambda route: route.fulfill(json=made_up()))
    tab.go("#/batches/batch-7")
    expect(tab.page.get_by_role("progressbar")).to_be_visible()  # the heading comes before the batch
    tab.page.unroute("**/v1/batches/batch-7")
    tab.page.route("**/v1/batches/batch-7", lambda route: route.abort())
    expect(tab.page.get_by_text("The page shows what was known before")).to_be_visible()
    expect(tab.heading("batch-7")).to_be_visible()
    tab.page.unroute("**/v1/batches/batch-7")
    tab.go("#/batches/batch-99999")
    expect(tab.page.get_by_text("There is no batch batch-99999")).to_be_visible()


def test_a_long_list_comes_in_pages(new_tab, server):
    """Newest first; the button shows older ones."""
    rows = [made_up(id=f"batch-{200 - number}", status="completed", completed_at=1) for number in range(60)]
    tab = new_tab(server.url)
    body = {"object": "list", "data": rows, "has_more": False, "first_id": None, "last_id": None}
    tab.page.route("**/v1/batches?*", lambda route: route.fulfill(json=body))
    tab.go("#/batches")
    table = tab.page.get_by_role("table", name="Batches").get_by_role("row")
    expect(table).to_have_count(51)
    tab.button("Show older batches").click()
    expect(table).to_have_count(61)
    expect(tab.button("Show older batches")).to_have_count(0)


def test_hostile_texts_are_text(new_tab, server, api):
    """Names of files, inputs, metadata and what the server says."""
    batch = start_batch(api, [line(MARKUP, model=MARKUP, prompt=MARKUP)], MARKUP, metadata={"<b>x</b>": MARKUP})
    ended(api, batch)
    tab = new_tab(server.url, f"#/batches/{batch['id']}")
    expect(tab.heading(MARKUP)).to_be_visible()
    expect(tab.page.get_by_text("Metadata <b>x</b>")).to_be_visible()
    tab.check_no_markup()
    tab.go("#/batches")
    expect(tab.page.get_by_role("table").get_by_text(MARKUP)).to_be_visible()
    choose(tab, f"{MARKUP}\n{json.dumps({'prompt': MARKUP, 'custom_id': MARKUP})}".encode(), MARKUP)
    expect(tab.page.get_by_text("1 of them plain texts")).to_be_visible()
    tab.check_no_markup()


def test_a_key_sees_its_own_batches(new_tab, guarded_server, admin):
    """The administrator sees all, and whose they are; a key without the scope is told which one it needs."""
    keys = {
        name: admin.post("/v1/keys", json={"name": name, "scopes": scopes}).json()["key"]
        for name, scopes in {"night": ["infer"], "other": ["infer"], "reader": ["tasks:read"]}.items()
    }
    as_night = {"authorization": f"Bearer {keys['night']}"}
    data = json.dumps(line("a", model="sentiment", prompt="a")).encode()
    file = admin.post(
        "/v1/files", files={"file": ("night.jsonl", data)}, data={"purpose": "batch"}, headers=as_night
    ).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
    assert admin.post("/v1/batches", json=body, headers=as_night).status_code == 200
    seen = {}
    for name, secret in {"admin": ADMIN_KEY, **keys}.items():
        tab = new_tab(guarded_server.url, "#/batches")
        tab.page.get_by_label("Key", exact=True).fill(secret)
        tab.button("Use the key").click()
        expect(tab.page.get_by_text(re.compile("night.jsonl|No batches yet|It lacks the scope"))).to_be_visible()
        seen[name] = tab.page.get_by_role("main").inner_text()
    assert all("key:night" in seen[name] for name in ("admin", "night"))
    assert "No batches yet" in seen["other"]
    assert 'It lacks the scope "infer".' in seen["reader"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_serious(new_tab, server, api, scheme, viewport):
    """In the list, the form, a batch that runs, one that was refused and one that has files."""
    ended(api, start_batch(api, [line("a", model="sentiment", prompt="a"), line("b", model="no-such", prompt="a")]))
    done = api.get("/v1/batches").json()["data"][0]
    refused = ended(api, start_batch(api, [line("a", model="sentiment", prompt="a")] * 2))
    tab = new_tab(server.url, "#/batches", color_scheme=scheme, viewport=viewport)
    choose(tab, TEXTS)
    expect(tab.page.get_by_role("table")).to_be_visible()
    tab.page.get_by_label("Task").select_option("sentiment")
    tab.page.route("**/v1/batches/batch-7", lambda route: route.fulfill(json=made_up()))
    for batch in (None, made_up(), done, refused):
        if batch is not None:
            tab.go(f"#/batches/{batch['id']}")
            expect(tab.page.get_by_text("Created by")).to_be_visible()
        tab.check_accessible()
        tab.check_no_overflow()
