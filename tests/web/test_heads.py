"""Tasks with heads on the page: an encoder, and a decoder that also writes text. The page offers what a task can do."""

import json
import re

import httpx
import pytest
from playwright.sync_api import expect

from prompts_store.checkpoint_records import TaskType
from server.demo import BASE_DIR
from tests.parity.encoders import ENCODERS, build_encoder
from tests.parity.head_oracle import save_checkpoint
from tests.system.server_process import ServerProcess
from tests.system.test_encoders import TEXT, bert_tokenizer
from tests.web.checkpoints import FILES
from tests.web.conftest import NARROW

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TASKS = {
    "mood": (TaskType.SEQ_CLS, {"labels": ["good", "bad", "neither"]}),
    "names": (TaskType.TOKEN_CLS, {"labels": ["B-PER", "I-PER", "LOC"]}),
    "questions": (TaskType.QUESTION_ANS, {}),
    "vectors": (TaskType.FEATURE_EXTRACTION, {"pooling": "first"}),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A tiny BERT in `base`, and a checkpoint of each task type beside it."""
    folder = tmp_path_factory.mktemp("encoder")
    build_encoder(ENCODERS["bert"]()).save_pretrained(str(folder / "base"))
    bert_tokenizer().save_pretrained(str(folder / "base"))
    for seed, (task, (task_type, manifest)) in enumerate(TASKS.items()):
        save_checkpoint(folder / task, folder / "base", "prompt", task_type, seed)
        (folder / task / "manifest.json").write_text(json.dumps(manifest))
    return folder


def publish(url, task, folder):
    """Publish a checkpoint with the manifest in its folder."""
    files = {part: (name, (folder / name).read_bytes()) for part, name in FILES.items()}
    data = {"manifest": (folder / "manifest.json").read_text()}
    response = httpx.post(f"{url}/v1/tasks/{task}/versions", files=files, data=data)
    assert response.status_code == 201, response.text


@pytest.fixture(scope="module")
def encoder(checkpoints, tmp_path_factory):
    """The URL of a server on it, without tasks at first."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder / "log", base_model=checkpoints / "base", data_dir=folder / "data") as process:
        yield process.url


def test_an_encoder_answers_nothing_until_a_folder_is_published(new_tab, encoder, checkpoints):
    """A folder with a head is published as any other; the version says what it answers, and the playground asks it."""
    tab = new_tab(encoder)
    expect(tab.page.get_by_text("is an encoder, which answers nothing alone")).to_be_visible()
    tab.go("#/tasks?publish=new")
    tab.page.get_by_label("Name").fill("mood")
    tab.page.get_by_label("Choose a folder").set_input_files(checkpoints / "mood")
    expect(tab.page.get_by_text(re.compile("PROMPT_TUNING, SEQ_CLS, 7 virtual tokens"))).to_be_visible()
    tab.button("Publish").click()
    expect(tab.heading("mood, version 1")).to_be_visible()
    expect(tab.page.get_by_text("Classes of texts (SEQ_CLS)")).to_be_visible()
    expect(tab.page.get_by_text("neither", exact=True)).to_be_visible()
    tab.page.get_by_role("link", name="Playground").click()
    expect(tab.button("Classify")).to_be_visible()
    expect(tab.page.get_by_label("Complete", exact=True)).to_have_count(0)
    tab.page.get_by_label("Input").fill(TEXT)
    tab.button("Classify").click()
    expect(tab.page.get_by_role("list", name="Probability of each label").get_by_role("listitem")).to_have_count(3)
    expect(tab.page.get_by_role("paragraph").filter(has_text="version 1")).to_be_visible()
    expect(tab.page.get_by_text("answer after")).not_to_contain_text("generated")


@pytest.fixture(scope="module")
def all_tasks(encoder, checkpoints):
    """The same server with the other tasks."""
    for task in ("names", "questions", "vectors"):
        publish(encoder, task, checkpoints / task)
    return encoder


@pytest.mark.parametrize(("scheme", "viewport"), [("light", None), ("dark", NARROW)])
def test_tokens_answers_and_vectors_are_shown(new_tab, all_tasks, scheme, viewport):
    """Each in a form to read, in both themes and on a phone."""
    tab = new_tab(all_tasks, viewport=viewport, color_scheme=scheme)
    page = tab.page
    page.get_by_label("Task", exact=True).select_option("names")
    page.get_by_label("Input").fill(TEXT)
    tab.button("Classify").click()
    expect(page.get_by_text("answer after")).to_be_visible()
    expect(page.locator("mark").first).to_contain_text(re.compile("PER|LOC"))
    page.get_by_text("Every token").click()
    expect(page.get_by_role("row")).to_have_count(1 + len(TEXT.split()))
    tab.check_accessible()
    tab.check_no_overflow()
    page.get_by_label("Task", exact=True).select_option("questions")
    page.get_by_label("Question", exact=True).fill("Who fell ?")
    tab.button("Ask").click()
    expect(page.get_by_role("list", name="Score of each answer").get_by_role("listitem")).to_have_count(3)
    best = page.locator("mark").inner_text()
    assert best in TEXT
    page.get_by_label("Task", exact=True).select_option("vectors")
    tab.button("Embed").click()
    expect(page.get_by_role("button", name="Copy the vector")).to_be_visible()
    tab.check_accessible()
    tab.check_no_overflow()
    page.get_by_role("tab", name="Python").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("client.embeddings.create(")


def test_tasks_of_different_kinds_are_not_asked_together(new_tab, all_tasks):
    """The page says what each can do."""
    tab = new_tab(all_tasks)
    tab.page.get_by_label("Input").fill(TEXT)
    tab.page.get_by_label("Task", exact=True).select_option("mood")
    tab.button("Compare with another").click()
    tab.page.get_by_label("Task 2").select_option("vectors")
    expect(tab.page.get_by_text("These cannot be asked the same thing")).to_be_visible()
    expect(tab.page.get_by_text("vectors: embed")).to_be_visible()
    expect(tab.button("Ask")).to_be_disabled()


def test_the_engine_of_an_encoder_has_no_cache_to_show(new_tab, all_tasks):
    """Nor what only generated text has."""
    tab = new_tab(all_tasks, "#/engine")
    expect(tab.page.get_by_text("Requests", exact=True)).to_be_visible()
    expect(tab.page.get_by_text("Tasks in the engine")).to_be_visible()
    for words in ("KV blocks", "Resident soft prompts", "Time to first token", "Generated", "Latency"):
        expect(tab.page.get_by_text(words, exact=True)).to_have_count(0)


def test_a_decoder_classifies_beside_tasks_that_write(new_tab, server, tmp_path):
    """What both can do is offered: a classification, by the head of one and the labels of the other."""
    save_checkpoint(tmp_path, BASE_DIR, "prompt", TaskType.SEQ_CLS, 1)
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": ["one", "two", "three"]}))
    publish(server.url, "headed", tmp_path)
    tab = new_tab(server.url)
    tab.page.get_by_label("Task", exact=True).select_option("sentiment")
    expect(tab.page.get_by_label("Complete", exact=True)).to_be_checked()
    tab.button("Compare with another").click()
    tab.page.get_by_label("Task 2").select_option("headed")
    tab.page.get_by_label("Input").fill("I loved this film")
    tab.button("Classify").click()
    bars = tab.page.get_by_role("list", name="Probability of each label")
    expect(bars).to_have_count(2)
    expect(bars.nth(1).get_by_role("listitem")).to_have_count(3)
    tab.go("#/tasks/headed")
    expect(tab.page.get_by_role("cell", name="Prompt tuning Classes of texts")).to_be_visible()
