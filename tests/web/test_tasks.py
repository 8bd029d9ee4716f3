"""The tasks: canaries, shadows, rollbacks, what a version is, and what is refused."""

import re
import shutil

import pytest
from playwright.sync_api import expect

from server.demo import TASKS_DIR
from tests.system.server_process import ServerProcess
from tests.web.browser import MARKUP
from tests.web.checkpoints import FILES, demo_files, publish
from tests.web.conftest import ADMIN_KEY, NARROW, WIDE


def put(api, task, alias, body, condition="if-match", etag="*"):
    """Move an alias as another client does."""
    response = api.put(f"/v1/tasks/{task}/aliases/{alias}", json=body, headers={condition: etag})
    assert response.status_code == 200, response.text


def targets(api, task, alias="production"):
    """Weights by version."""
    found = api.get(f"/v1/tasks/{task}/aliases/{alias}").json()["targets"]
    return {target["version"]: target["weight"] for target in found}


def dialog(tab):
    """The open dialog."""
    return tab.page.get_by_role("dialog")


def press(tab, name):
    """Press a button of the open dialog."""
    dialog(tab).get_by_role("button", name=name, exact=True).click()


def test_the_list_is_searched_by_name_and_description(new_tab, server, api):
    """Each word must be there; what was typed outlives a reload."""
    assert api.post("/v1/tasks", json={"name": "sought", "description": "Finds a needle"}).status_code == 201
    tab = new_tab(server.url, "#/tasks")
    tab.page.get_by_label("Search").fill("NEEDLE sou")
    expect(tab.page.get_by_role("row")).to_have_count(2)
    expect(tab.page.get_by_text(re.compile("^1 of "))).to_be_visible()
    tab.page.reload()
    expect(tab.page.get_by_label("Search")).to_have_value("NEEDLE sou")
    tab.page.get_by_role("link", name="sought").click()
    expect(tab.heading("sought")).to_be_visible()
    expect(tab.page.get_by_text("No version answers")).to_be_visible()
    tab.go("#/tasks")
    tab.page.get_by_label("Search").fill("no such thing")
    tab.button("Show all tasks").click()
    expect(tab.page.get_by_role("link", name="sentiment")).to_be_visible()


def test_places_that_are_not_there_say_so(new_tab, server):
    """A task, a version, and a path that names nothing."""
    tab = new_tab(server.url, "#/tasks/no-such-task")
    expect(tab.page.get_by_text("There is no such task")).to_be_visible()
    tab.go("#/tasks/..")
    expect(tab.heading("..")).to_be_visible()
    tab.go("#/tasks/sentiment/99")
    expect(tab.page.get_by_text("There is no such version")).to_be_visible()
    tab.go("#/tasks/sentiment/1/more")
    expect(tab.page.get_by_text("There is no such place")).to_be_visible()


def test_a_slider_splits_the_callers_and_a_rollback_undoes_it(new_tab, server, api):
    """The weights are those of the slider; the history tells both moves."""
    publish(api, "canary", "sentiment", "triage")
    tab = new_tab(server.url, "#/tasks/canary")
    tab.button("Move production").click()
    dialog(tab).get_by_label("Two", exact=True).check()
    slider = dialog(tab).get_by_label("Share of version 2")
    slider.fill("24")
    slider.press("ArrowRight")
    dialog(tab).get_by_label("Reason").fill("a quarter first")
    expect(dialog(tab).get_by_text("Then: version 1 (75 %) and version 2 (25 %).")).to_be_visible()
    press(tab, "Move")
    expect(tab.page.get_by_text("production now names version 1 (75 %) and version 2 (25 %).")).to_be_visible()
    assert targets(api, "canary") == {1: 75, 2: 25}
    history = tab.page.get_by_role("list", name="History of production")
    expect(history.get_by_role("listitem").first).to_contain_text("a quarter first")
    tab.button("Roll back production").click()
    dialog(tab).get_by_label("Reason").fill("too many errors")
    press(tab, "Roll back")
    expect(tab.page.get_by_text("production is back at version 1.")).to_be_visible()
    expect(history.get_by_role("listitem").first).to_contain_text("too many errors")
    assert targets(api, "canary") == {1: 1}
    tab.button("Roll back production").click()
    press(tab, "Roll back")
    expect(dialog(tab).get_by_role("alert")).to_contain_text("Its earlier versions are retired, or it was never moved.")


def test_a_move_of_somebody_else_is_told_and_nothing_typed_is_lost(new_tab, server, api):
    """The newer state is shown; only a second press moves the alias all the same."""
    publish(api, "contested", "sentiment", "triage", "route")
    tab = new_tab(server.url, "#/tasks/contested")
    tab.button("Promote version 2").click()
    dialog(tab).get_by_label("Reason").fill("my reason")
    put(api, "contested", "production", {"version": 3, "reason": f"theirs {MARKUP}"})
    press(tab, "Move")
    told = dialog(tab).get_by_role("status").filter(has_text="Somebody moved production meanwhile")
    expect(told).to_contain_text("It now names version 3.")
    expect(told).to_contain_text(f"theirs {MARKUP}")
    expect(dialog(tab).get_by_label("Reason")).to_have_value("my reason")
    tab.check_no_markup()
    tab.check_accessible()
    assert targets(api, "contested") == {3: 1}
    api.delete("/v1/tasks/contested/aliases/production")
    press(tab, "Move it all the same")
    expect(dialog(tab).get_by_text("Somebody deleted the alias meanwhile")).to_be_visible()
    press(tab, "Make it again")
    expect(tab.page.get_by_text("production now names version 2.")).to_be_visible()
    assert targets(api, "contested") == {2: 1}


def test_a_shadow_is_set_and_its_agreement_shown(new_tab, server, api):
    """The counts follow the requests; a second shadow of one alias is refused in words."""
    publish(api, "shadowed", "sentiment", "triage")
    tab = new_tab(server.url, "#/tasks/shadowed")
    tab.button("New alias").click()
    dialog(tab).get_by_label("Name").fill("next")
    dialog(tab).get_by_label("Shadow", exact=True).check()
    press(tab, "Make the alias")
    expect(tab.page.get_by_text("next now names version 2, as the shadow of production.")).to_be_visible()
    for text in ("so good", "so bad"):
        assert api.post("/v1/classify", json={"model": "shadowed", "input": text}).status_code == 200
    card = tab.page.get_by_role("region", name="Alias next")
    expect(card.locator(".stat", has_text="Compared")).to_contain_text("2")
    expect(card.locator(".stat", has_text="Agreed")).to_contain_text("%")
    tab.button("New alias").click()
    dialog(tab).get_by_label("Name").fill("other")
    dialog(tab).get_by_label("Shadow", exact=True).check()
    press(tab, "Make the alias")
    expect(dialog(tab).get_by_role("alert")).to_contain_text("Delete the other shadow first, or move that one.")
    press(tab, "Cancel")
    tab.button("Delete next").click()
    press(tab, "Delete the alias")
    expect(tab.page.get_by_text("next is deleted. Its history stays.")).to_be_visible()
    expect(card).to_have_count(0)


def test_a_version_shows_what_the_model_sees(new_tab, server, api):
    """Its template around an example, and the tokens with the virtual ones."""
    publish(api, "seen", "sentiment", metrics={"validation": {"accuracy": 0.9}, "seed": 1})
    publish(api, "seen", "triage", metrics={"validation": {"accuracy": 0.95}}, note="twice the data")
    tab = new_tab(server.url, "#/tasks/seen/2")
    tab.page.get_by_label("Example input").fill("The soup was cold.")
    expect(tab.page.get_by_label("The prompt")).to_have_text(" The soup was cold. ->\n")
    expect(tab.page.get_by_text("16 virtual tokens and 9 tokens of text: 25 of 512")).to_be_visible()
    expect(tab.page.get_by_label("The tokens as text")).to_contain_text("The soup was cold. ->")
    expect(tab.page.get_by_role("row", name="validation.accuracy")).to_contain_text("+0.05")
    tab.page.reload()
    expect(tab.page.get_by_label("Example input")).to_have_value("The soup was cold.")


def test_both_files_of_a_version_are_downloaded(new_tab, server, api):
    """Under PEFT's names, with the tensors byte for byte."""
    publish(api, "downloaded", "sentiment")
    tab = new_tab(server.url, "#/tasks/downloaded/1")
    saved = []
    tab.page.on("download", lambda one: saved.append(one))
    with tab.page.expect_event("download", lambda one: one.suggested_filename == "adapter_model.safetensors"):
        tab.button("Download both files").click()
    assert [one.suggested_filename for one in saved] == list(FILES.values())
    assert saved[1].path().read_bytes() == (TASKS_DIR / "sentiment/adapter_model.safetensors").read_bytes()


def test_a_version_in_use_is_not_retired(new_tab, server, api):
    """The page says what names it; a free one is retired and no longer listed."""
    publish(api, "retired", "sentiment", "triage")
    tab = new_tab(server.url, "#/tasks/retired/1")
    tab.button("Retire").click()
    press(tab, "Retire")
    expect(dialog(tab).get_by_role("alert")).to_contain_text("Move or delete what names the version, then retire it.")
    press(tab, "Cancel")
    tab.go("#/tasks/retired/2")
    tab.button("Promote").click()
    press(tab, "Move")
    expect(tab.page.get_by_text("production now names version 2.")).to_be_visible()
    tab.go("#/tasks/retired/1")
    expect(tab.heading("retired, version 1")).to_be_visible()
    tab.button("Retire").click()
    press(tab, "Retire")
    expect(tab.page.get_by_text("Version 1 is retired.")).to_be_visible()
    expect(tab.page.get_by_role("link", name="Version 1", exact=True)).to_have_count(0)
    assert api.get("/v1/tasks/retired/versions/1").status_code == 404


def test_a_task_is_deleted_after_its_name_was_typed(new_tab, server, api):
    """A purge says what it removed."""
    publish(api, "deleted", "sentiment")
    tab = new_tab(server.url, "#/tasks/deleted")
    tab.button("Delete the task").click()
    confirm = dialog(tab).get_by_role("button", name="Delete the task")
    dialog(tab).get_by_label("Type deleted to confirm").fill("delete")
    expect(confirm).to_be_disabled()
    dialog(tab).get_by_label("Type deleted to confirm").press("Enter")
    dialog(tab).get_by_label("Type deleted to confirm").fill("deleted")
    dialog(tab).get_by_label("Purge: remove everything for good").check()
    tab.check_accessible()
    confirm.click()
    expect(tab.page.get_by_text("The task deleted is removed for good: 1 version, ")).to_be_visible()
    expect(tab.page.get_by_role("link", name="deleted", exact=True)).to_have_count(0)
    assert api.get("/v1/tasks/deleted").status_code == 404


def test_a_task_of_a_folder_is_read_only(new_tab, tmp_path):
    """It says so, and offers no change; a change that is sent anyway is refused in words."""
    shutil.copytree(TASKS_DIR / "sentiment", tmp_path / "tasks/owned")
    with ServerProcess(tmp_path / "log", data_dir=tmp_path / "data", tasks_dir=tmp_path / "tasks") as server:
        tab = new_tab(server.url, "#/tasks")
        expect(tab.page.get_by_role("row", name="owned")).to_contain_text("read-only")
        tab.page.get_by_role("link", name="owned").click()
        expect(tab.page.get_by_text("This task is read-only")).to_be_visible()
        expect(tab.page.get_by_role("region", name="Alias production")).to_be_visible()
        assert (
            tab.page.get_by_role("main").get_by_role("button", name=re.compile("Move|Delete|Promote|Roll")).count() == 0
        )
        tab.go("#/tasks/owned?publish=new")
        tab.page.get_by_label("Choose its files").set_input_files(demo_files("triage"))
        tab.button("Publish").click()
        expect(tab.page.get_by_role("alert")).to_contain_text("the server follows it")


def test_a_key_that_may_only_read_is_offered_no_change(new_tab, guarded_server, admin):
    """The page says which scope it lacks."""
    made = admin.post("/v1/keys", json={"name": "reader", "scopes": ["tasks:read"]}).json()
    tab = new_tab(guarded_server.url, "#/tasks/sentiment/1")
    tab.page.get_by_label("Key", exact=True).fill(made["key"])
    tab.button("Use the key").click()
    expect(tab.page.get_by_text("The key lacks the scope tasks:write.")).to_be_visible()
    expect(tab.page.get_by_text("The key lacks the scope infer, which shows the tokens.")).to_be_visible()
    expect(tab.button("Retire")).to_have_count(0)
    tab.go("#/tasks?publish=new")
    expect(tab.page.get_by_text("The key lacks the scope tasks:write.")).to_be_visible()
    expect(tab.button("Publish")).to_have_count(0)
    assert ADMIN_KEY not in tab.page.content()


def test_hostile_texts_stay_texts(new_tab, server, api):
    """In descriptions, notes, labels, templates, metrics, reasons, and in what is typed."""
    assert api.post("/v1/tasks", json={"name": "markup", "description": MARKUP}).status_code == 201
    publish(
        api, "markup", "sentiment",
        template=f"{MARKUP} {{input}}", labels=[MARKUP, "x"], stop=[MARKUP], note=MARKUP, metrics={MARKUP: MARKUP},
    )  # fmt: skip
    put(api, "markup", "production", {"version": 1, "reason": MARKUP})
    tab = new_tab(server.url, "#/tasks/markup")
    expect(tab.page.get_by_role("list", name="History of production")).to_contain_text(MARKUP)
    tab.check_no_markup()
    tab.go("#/tasks/markup/1")
    tab.page.get_by_label("Example input").fill(MARKUP)
    expect(tab.page.get_by_label("The prompt")).to_have_text(f"{MARKUP} {MARKUP}")
    expect(tab.page.get_by_label("The tokens as text")).to_contain_text(MARKUP)
    tab.check_no_markup()
    tab.go(f"#/tasks/{MARKUP.replace('/', '%2F').replace(' ', '%20')}")
    expect(tab.heading(MARKUP)).to_be_visible()
    expect(tab.page.get_by_text("There is no such task")).to_be_visible()
    tab.check_no_markup()
    tab.go("#/tasks?publish=new")
    tab.page.get_by_label("Name").fill(MARKUP)
    tab.page.get_by_label("Choose its files").set_input_files(demo_files("triage"))
    tab.button("Publish").click()
    expect(tab.page.get_by_text("A name has 1 to 64 of a-z, 0-9")).to_be_visible()
    tab.check_no_markup()


@pytest.mark.parametrize(("scheme", "viewport"), [("light", WIDE), ("dark", NARROW)], ids=["wide", "narrow"])
def test_axe_finds_nothing_serious(new_tab, server, api, scheme, viewport):
    """In any place, with a name of 63 characters, with the dialog and with an error."""
    name = f"{scheme}.{viewport['width']}-".ljust(63, "n")
    publish(api, name, "sentiment", "triage", metrics={"accuracy": 0.9}, note="n" * 4_000)
    put(api, name, "next", {"version": 2, "shadow_of": "production"}, "if-none-match")
    tab = new_tab(server.url, "#/tasks", color_scheme=scheme, viewport=viewport)
    places = {
        "#/tasks": name,
        f"#/tasks/{name}": "Created at version 1",
        f"#/tasks/{name}/2": "are left for the answer",
    }
    for place, sign in places.items():
        tab.go(place)
        expect(tab.page.get_by_text(sign).first).to_be_visible()
        tab.check_accessible()
        tab.check_no_overflow()
    tab.button("Promote").click()
    dialog(tab).get_by_label("Two", exact=True).check()
    tab.check_accessible()
    press(tab, "Cancel")
    tab.go("#/tasks?publish=new")
    tab.button("Publish").click()
    tab.check_accessible()
    tab.check_no_overflow()
