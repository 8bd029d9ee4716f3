"""Tuning in the page: a file of examples is checked, shown, and becomes a job and a version."""

import re

import pytest
from playwright.sync_api import expect

from server.engine_choice import NO_TUNING_WITH_VLLM
from tests.system.server_process import ServerProcess
from tests.web.tuning_jobs import LONG_MS, ROWS, choose, drop, jsonl


def set_quick(tab, steps=3):
    """Type settings with which a job ends in seconds."""
    tab.page.get_by_text("Hyperparameters, template and more").click()
    for label, value in {"Virtual tokens": "2", "Steps": str(steps), "Examples per step": "2"}.items():
        tab.page.get_by_label(label, exact=True).fill(value)


@pytest.fixture
def tuning(new_tab, server):
    """The view."""
    tab = new_tab(server.url, "#/tuning")
    expect(tab.page.get_by_text("At most 67.1 MB")).to_be_visible()
    return tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_server_that_cannot_tune_says_why_and_has_no_form(new_tab, server, scheme):
    """As with vLLM's engine; the jobs in its database are listed all the same."""
    error = {"message": NO_TUNING_WITH_VLLM, "type": "server_error", "code": "not_ready", "param": None}
    tab = new_tab(server.url, color_scheme=scheme)
    tab.page.route(
        "**/v1/fine_tuning/preview",
        lambda route: route.fulfill(status=503, headers={"retry-after": "1"}, json={"error": error}),
    )
    tab.go("#/tuning")
    notice = tab.page.get_by_role("status").filter(has_text="Nothing is tuned here")
    expect(notice).to_contain_text("create the job on a server with --engine own over the same database.")
    expect(notice).not_to_contain_text("Try again")
    expect(tab.page.get_by_role("heading", name="New job")).to_have_count(0)
    expect(tab.page.locator("input, textarea")).to_have_count(0)
    expect(tab.page.get_by_role("heading", name="Jobs")).to_be_visible()
    tab.check_accessible()
    tab.check_no_overflow()


def test_a_dropped_file_becomes_a_version_that_answers(tuning, api):
    """What the model will see is shown first; the curves grow; a reload in mid-run goes on where it was."""
    drop(tuning, jsonl(ROWS))
    page = tuning.page
    expect(page.get_by_text("40 lines · texts and labels · every line is valid")).to_be_visible()
    expect(page.get_by_role("table", name="First lines of train.jsonl").get_by_role("row")).to_have_count(9)
    expect(page.get_by_text("2 labels")).to_be_visible()
    expect(page.get_by_text(re.compile("Example 1 · 16 virtual and .* of at most 512"))).to_be_visible()
    tuning.check_accessible()
    page.get_by_label("Task", exact=True).fill("Page Job")
    expect(page.get_by_text("The task will be called page-job.")).to_be_visible()
    set_quick(tuning, steps=8)
    expect(page.locator(".tuning-token.virtual", has_text=re.compile("^2 ")).first).to_be_visible()
    tuning.check_accessible()
    tuning.button("Start tuning").click()
    expect(tuning.heading("page-job")).to_be_visible(timeout=LONG_MS)
    log = page.get_by_label("Log of the job, newest first")
    expect(log.get_by_text("Validation after step 2")).to_be_visible(timeout=LONG_MS)
    page.reload()
    expect(log.get_by_text("The job was created.")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("in production", exact=True)).to_be_visible(timeout=LONG_MS)
    for name in ("Loss by step", "Validation score by step", "Gradient norm by step"):
        expect(page.get_by_label(name).locator("canvas")).to_be_visible()
    expect(page.get_by_label("Loss by step")).to_contain_text(re.compile(r"Training\s*[0-9]"))
    expect(page.get_by_text("The first example")).not_to_have_count(0)
    answers = page.get_by_role("table", name="Answers side by side")
    expect(answers.get_by_text(re.compile("right|wrong"))).to_have_count(8, timeout=LONG_MS)
    tuning.check_accessible()
    job = api.get("/v1/fine_tuning/jobs").json()["data"][0]
    assert (job["task"], job["status"], job["version"]) == ("page-job", "succeeded", 1)
    assert job["hyperparameters"]["num_virtual_tokens"] == 2


def test_invalid_lines_are_told_with_their_numbers_and_nothing_is_sent(tuning):
    """Each with what is wrong; the form appears only once the file is right."""
    sent = []
    tuning.page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    bad = [
        b'{"text": "a", "label": "b"}',
        b"{oops",
        b"",
        b"[1]",
        b'{"text": "a"}',
        b'{"prompt": "x", "completion": "y"}',
    ]
    bad += [
        b'{"text": "a", "label": true}',
        b'{"text": " ", "label": "b"}',
        b"\xff",
        b'{"text": "a", "label": "b", "system": "c"}',
    ]
    choose(tuning, b"\n".join(bad))
    alert = tuning.page.get_by_role("alert")
    expect(alert).to_contain_text("8 problems in the file: nothing was sent")
    for words in (
        "Line 2 is not JSON.",
        "Line 4 is not a JSON object.",
        "Line 5 has a text but no label.",
        "Line 6 is in the completion form, but the lines before it are in the label form.",
        "Line 7 has a label that is not a text.",
        "Line 8 has an empty text.",
        "Line 9 is not UTF-8.",
        "Line 10 has 'system' beside text and label, which is not supported: leave it out.",
    ):
        expect(alert).to_contain_text(words)
    expect(tuning.button("Start tuning")).to_have_count(0)
    assert not [url for url in sent if url.endswith(("/files", "/jobs"))]
    tuning.check_accessible()
    tuning.button("Choose again").click()
    choose(tuning, jsonl(ROWS))
    expect(tuning.button("Start tuning")).to_be_visible()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "the last message is to have the role assistant"),
        (
            {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "b"}]},
            "has an empty content",
        ),
        (
            {"messages": [{"role": "bot", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "of another role than",
        ),
        ({"messages": []}, "has messages that are not a list"),
    ],
)
def test_conversations_are_checked_too(tuning, line, words):
    """Message by message."""
    choose(tuning, jsonl([line]))
    expect(tuning.page.get_by_role("alert")).to_contain_text(words)


def test_what_the_server_reads_is_no_fault(tuning):
    """A byte order mark, ends of Windows, numbers as labels, NaN in a column: the page refuses none of them."""
    lines = [b'{"text": "a", "label": 1, "score": NaN}', b'{"text": "b NaN", "label": 2, "score": -Infinity}']
    choose(tuning, b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    expect(tuning.page.get_by_text("2 lines · texts and labels · every line is valid")).to_be_visible()
    expect(tuning.page.get_by_text("Further columns: score")).to_be_visible()


def test_a_large_file_is_read_and_sent_and_its_failure_told(new_tab, tmp_path):
    """100 MB, lines of 20,000 characters: the job fails with the line, and the page says what to do."""
    long = [
        {"text": f"{number} " + "so good " * 2500, "label": "yes" if number % 2 else "no"} for number in range(5000)
    ]
    path = tmp_path / "large.jsonl"
    path.write_bytes(jsonl(ROWS[:0] + [{"text": f"short {n}", "label": "yes"} for n in range(8)] + long))
    assert path.stat().st_size > 100_000_000
    with ServerProcess(tmp_path / "log", data_dir=tmp_path / "data", max_file_mib=128) as process:
        tab = new_tab(process.url, "#/tuning")
        expect(tab.page.get_by_text("At most 134 MB")).to_be_visible()
        tab.page.locator("input[type=file]").first.set_input_files(path)
        expect(tab.page.get_by_text("5,008 lines · texts and labels · every line is valid")).to_be_visible(
            timeout=LONG_MS
        )
        tab.page.get_by_label("Task", exact=True).fill("large")
        tab.button("Start tuning").click()
        expect(tab.heading("large")).to_be_visible(timeout=LONG_MS)
        alert = tab.page.get_by_role("alert")
        expect(alert).to_contain_text("The job failed", timeout=LONG_MS)
        expect(alert).to_contain_text(re.compile("Line 9: has .* tokens"))
        expect(alert).to_contain_text("Shorten the example")


def test_a_file_above_the_servers_limit_is_refused_before_it_is_sent(tuning, tmp_path):
    """With both sizes."""
    path = tmp_path / "large.jsonl"
    path.write_bytes(b'{"text": "a", "label": "b"}\n' * 3_600_000)
    tuning.page.locator("input[type=file]").first.set_input_files(path)
    expect(tuning.page.get_by_role("alert")).to_have_text("large.jsonl has 101 MB; at most 67.1 MB are accepted.")


def test_what_was_typed_outlives_a_reload(tuning):
    """A file does not, and the page says so."""
    choose(tuning, jsonl(ROWS), "mine.jsonl")
    tuning.page.get_by_label("Task", exact=True).fill("kept")
    tuning.page.get_by_role("link", name="Engine").click()
    tuning.page.get_by_role("link", name="Tuning").click()
    expect(tuning.page.get_by_label("Task", exact=True)).to_have_value("kept")
    tuning.page.reload()
    expect(tuning.page.get_by_text("Before the reload you had chosen mine.jsonl.")).to_be_visible()
    tuning.page.get_by_label("Paste", exact=True).check()
    tuning.page.get_by_label("Examples", exact=True).fill(jsonl(ROWS[:3]).decode())
    expect(tuning.page.get_by_label("Task", exact=True)).to_have_value("kept")
    tuning.page.reload()
    expect(tuning.page.get_by_label("Examples", exact=True)).to_have_value(jsonl(ROWS[:3]).decode())
    expect(tuning.page.get_by_text("3 lines · texts and labels")).to_be_visible()


def test_a_wrong_setting_is_told_at_its_field_before_anything_is_sent(tuning):
    """In the server's words; the default stands in the empty field."""
    choose(tuning, jsonl(ROWS))
    tuning.page.get_by_label("Task", exact=True).fill("mood")
    tuning.page.get_by_text("Hyperparameters, template and more").click()
    field = tuning.page.get_by_label("Virtual tokens", exact=True)
    expect(field).to_have_attribute("placeholder", "16")
    field.fill("0")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(tuning.page.get_by_text("num_virtual_tokens is from 1 to 4096")).to_be_visible()
    expect(tuning.button("Start tuning")).to_be_disabled()
    field.fill("")
    tuning.page.get_by_label("Template").fill("no place")
    expect(tuning.page.get_by_text("it must hold it exactly once")).to_be_visible()
    tuning.page.get_by_label("Template").fill("{input} =>")
    expect(tuning.button("Start tuning")).to_be_enabled()


def test_a_head_is_chosen_and_its_labels_are_shown(tuning):
    """The answer of an example is its label then, and no token."""
    drop(tuning, jsonl(ROWS))
    page = tuning.page
    page.get_by_text("Hyperparameters, template and more").click()
    expect(page.get_by_label("Answers", exact=True).locator("option").first).to_have_text("Default: A text")
    expect(page.locator("li .tuning-token.learnt").first).to_be_visible()
    page.get_by_label("Answers", exact=True).select_option("SEQ_CLS")
    expect(page.get_by_text(re.compile(f"Example 1 · {ROWS[0]['label']} · 16 virtual and"))).to_be_visible()
    expect(page.locator("li .tuning-token.learnt")).to_have_count(0)
