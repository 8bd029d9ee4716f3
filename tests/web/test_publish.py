"""Publishing a checkpoint: a folder that is dropped or chosen, what is missing in it, and what the server refuses."""

import json
import shutil

import pytest
from playwright.sync_api import expect

from server.demo import TASKS_DIR
from tests.web.browser import MARKUP
from tests.web.checkpoints import demo_files, publish

FILE_MARKUP = "<img src=x onerror='window.hacked = true'>.txt"
"""A file's name that would run, were it rendered as HTML."""


@pytest.fixture
def folder(tmp_path):
    """Copies a demo checkpoint; `without` names files to leave out."""

    def make(source="sentiment", *, without=()):
        target = tmp_path / "checkpoint"
        shutil.copytree(TASKS_DIR / source, target)
        for name in without:
            (target / name).unlink()
        return target

    return make


def drop(tab, path):
    """Let go of a folder or file over the place for it, as the system's file manager does."""
    tab.page.locator(".drop").scroll_into_view_if_needed()
    box = tab.page.locator(".drop").bounding_box()
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    session = tab.page.context.new_cdp_session(tab.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": data})
    session.detach()


def test_a_dropped_folder_becomes_a_version(new_tab, server, api, folder):
    """With what its manifest says, and with what was typed before it."""
    tab = new_tab(server.url, "#/tasks?publish=new")
    tab.page.get_by_label("Name").fill("dropped")
    tab.page.get_by_label("Note").fill("typed before")
    drop(tab, folder())
    expect(tab.page.get_by_text("PROMPT_TUNING, 12 virtual tokens, for softprompt-demo")).to_be_visible()
    expect(tab.page.get_by_label("Labels")).to_have_value("positive\nnegative")
    expect(tab.page.get_by_text("Also sent from it: stop, defaults, metrics.")).to_be_visible()
    tab.button("Publish").click()
    expect(tab.heading("dropped, version 1")).to_be_visible()
    expect(tab.page.get_by_text("Version 1 of dropped is published. dropped now answers with it.")).to_be_visible()
    manifest = api.get("/v1/tasks/dropped/versions/1").json()["manifest"]
    given = json.loads((TASKS_DIR / "sentiment/manifest.json").read_text())
    assert manifest["note"] == "typed before"
    assert {name: manifest[name] for name in ("template", "labels", "defaults", "metrics", "add_special_tokens")} == {
        name: given[name] for name in ("template", "labels", "defaults", "metrics", "add_special_tokens")
    }


def test_the_same_content_is_not_stored_twice(new_tab, server, api):
    """The page leads to the version that has it."""
    publish(api, "same", "sentiment")
    tab = new_tab(server.url, "#/tasks/same")
    tab.page.get_by_role("link", name="Publish a version").click()
    tab.page.get_by_label("Choose its files").set_input_files(demo_files("sentiment"))
    tab.page.get_by_label("Template").fill(" {input} ->\n")
    tab.page.get_by_label("Labels").fill("good\nbad")
    tab.button("Publish").click()
    expect(tab.page.get_by_text("The same content is version 1 already, so nothing new was stored.")).to_be_visible()


def test_a_missing_file_is_named_and_can_be_added(new_tab, server, folder):
    """By the picker for files, which the keyboard reaches; a pickle is refused, other files are left out."""
    path = folder(without=["adapter_model.safetensors", "manifest.json"])
    (path / "adapter_model.bin").write_bytes(b"pickle")
    (path / FILE_MARKUP).write_text("hostile")
    tab = new_tab(server.url, "#/tasks?publish=new")
    tab.page.get_by_label("Name").fill("added")
    tab.page.get_by_label("Choose a folder").set_input_files(path)
    missing = tab.page.get_by_role("listitem").filter(has_text="adapter_model.safetensors")
    expect(missing).to_contain_text("is missing")
    expect(tab.page.get_by_text("adapter_model.bin is a pickle")).to_be_visible()
    expect(tab.page.get_by_text("2 other files are not sent")).to_contain_text(FILE_MARKUP)
    tab.check_no_markup()
    tab.button("Publish").click()
    expect(tab.page.get_by_text("Choose the missing file first.")).to_be_visible()
    tab.page.get_by_label("Choose a folder").focus()
    tab.page.keyboard.press("Tab")
    expect(tab.page.get_by_label("Choose its files")).to_be_focused()
    tab.page.get_by_label("Choose its files").set_input_files(TASKS_DIR / "sentiment/adapter_model.safetensors")
    expect(missing).not_to_contain_text("is missing")
    tab.button("Publish").click()
    expect(tab.heading("added, version 1")).to_be_visible()


def test_a_refusal_stands_beside_its_field_and_keeps_what_was_typed(new_tab, server, folder):
    """Over a reload too; files must be chosen again."""
    path = folder(without=["manifest.json"])
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "LORA"}))
    tab = new_tab(server.url, "#/tasks?publish=new")
    tab.page.get_by_label("Name").fill("refused")
    tab.page.get_by_label("Template").fill("no mark")
    expect(tab.page.get_by_text("The template must hold {input}, where the input goes.")).to_be_visible()
    tab.page.get_by_label("Template").fill("{input} =")
    tab.page.get_by_label("Choose a folder").set_input_files(path)
    tab.button("Publish").click()
    expect(tab.page.get_by_role("listitem").filter(has_text="adapter_config.json")).to_contain_text("LORA")
    expect(tab.page.get_by_text("It is not published: see the field above.")).to_be_visible()
    tab.page.reload()
    expect(tab.page.get_by_label("Name")).to_have_value("refused")
    expect(tab.page.get_by_label("Template")).to_have_value("{input} =")


def test_a_file_that_is_too_large_is_told(new_tab, server, folder):
    """With the server's limit and its option; what was typed stays."""
    path = folder(without=["manifest.json"])
    with (path / "adapter_model.safetensors").open("wb") as file:
        file.truncate(100_000_000)
    tab = new_tab(server.url, "#/tasks?publish=new")
    tab.page.get_by_label("Name").fill("large")
    tab.page.get_by_label("Choose a folder").set_input_files(path)
    expect(tab.page.get_by_text("100 MB")).to_be_visible()
    tab.button("Publish").click()
    expect(tab.page.get_by_role("alert").filter(has_text="--max-tensor-bytes")).to_be_visible(timeout=30_000)
    expect(tab.page.get_by_label("Name")).to_have_value("large")


def test_a_checkpoint_of_another_base_is_published_on_request(new_tab, server, api, folder):
    """The refusal, with the base's name as a text, brings a box to tick."""
    path = folder(without=["manifest.json"])
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": MARKUP}))
    tab = new_tab(server.url, "#/tasks?publish=new")
    tab.page.get_by_label("Name").fill("foreign")
    tab.page.get_by_label("Choose a folder").set_input_files(path)
    tab.button("Publish").click()
    expect(tab.page.get_by_text(MARKUP).first).to_be_visible()
    tab.check_no_markup()
    tab.page.get_by_label("Publish it although it names another base model").check()
    tab.button("Publish").click()
    expect(tab.heading("foreign, version 1")).to_be_visible()
    assert api.get("/v1/tasks/foreign/versions/1").json()["base_model_name"] == MARKUP
