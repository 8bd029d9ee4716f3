"""The frame of the page: places, keys, themes, keyboard, policy, hostile texts, and what a first load costs."""

import json
import re

import pytest
from playwright.sync_api import expect

from server.demo import TASKS_DIR
from tests.system.server_process import ServerProcess
from tests.web.browser import MARKUP
from tests.web.conftest import ADMIN_KEY, NARROW, WIDE

VIEWS = ["Playground", "Tasks", "Tuning", "Batches", "Engine"]
MAX_FIRST_LOAD_BYTES = 300_000


@pytest.fixture
def key(admin):
    """Makes keys on the server that wants one."""
    made = []

    def make(*scopes, **more):
        made.append(f"key-{len(made)}-{id(made)}")
        response = admin.post("/v1/keys", json={"name": made[-1], "scopes": list(scopes), **more})
        assert response.status_code == 201, response.text
        return response.json()

    return make


def enter(tab, secret):
    """Give the dialog a key."""
    tab.page.get_by_label("Key", exact=True).fill(secret)
    tab.button("Use the key").click()


def test_each_view_has_a_place(tab):
    """A link leads there, marks itself, and the back button leads back."""
    for name in VIEWS:
        link = tab.page.get_by_role("navigation").get_by_role("link", name=name)
        link.click()
        expect(tab.heading(name)).to_be_visible()
        expect(link).to_have_attribute("aria-current", "page")
        expect(tab.page).to_have_title(f"{name} · softprompt-server")
    tab.page.go_back()
    expect(tab.heading("Batches")).to_be_visible()


def test_an_unknown_place_says_so(new_tab, server):
    """And leads on."""
    tab = new_tab(server.url, "#/nowhere/<b>")
    expect(tab.page.get_by_text("There is no such view")).to_be_visible()
    tab.page.get_by_role("link", name="Go to the playground").click()
    expect(tab.heading("Playground")).to_be_visible()


def test_without_javascript_the_page_says_what_it_needs(new_tab, server):
    """In words, with another way."""
    tab = new_tab(server.url, java_script_enabled=False)
    expect(tab.page.locator(".without-script")).to_contain_text("This page needs JavaScript")
    expect(tab.page.locator(".without-script a")).to_have_attribute("href", "docs")


def test_a_key_is_asked_for_and_a_wrong_one_refused(new_tab, guarded_server):
    """The request that asked is repeated with the key; the next tab asks again."""
    tab = new_tab(guarded_server.url, "#/tasks")
    expect(tab.page.get_by_text("This server wants an API key.")).to_be_visible()
    enter(tab, "two words")
    expect(tab.page.get_by_text("A key has visible ASCII characters only")).to_be_visible()
    enter(tab, "sp-wrong")
    expect(tab.page.get_by_text("The server does not accept the key.")).to_be_visible()
    enter(tab, ADMIN_KEY)
    expect(tab.page.get_by_role("cell", name="sentiment", exact=True)).to_be_visible()
    tab.page.reload()
    expect(tab.page.get_by_role("cell", name="sentiment", exact=True)).to_be_visible()
    assert ADMIN_KEY not in tab.page.evaluate("JSON.stringify({ ...localStorage }) + document.cookie + location.href")
    other = new_tab(guarded_server.url, "#/tasks", context=tab.page.context)
    expect(other.page.get_by_text("This server wants an API key.")).to_be_visible()


def test_a_key_can_be_forgotten(new_tab, guarded_server):
    """The tab then has none, and asks."""
    tab = new_tab(guarded_server.url, "#/tasks")
    enter(tab, ADMIN_KEY)
    tab.page.get_by_text("admin-key").click()
    tab.button("Forget the key").click()
    expect(tab.page.get_by_text("This server wants an API key.")).to_be_visible()
    assert ADMIN_KEY not in tab.page.evaluate("JSON.stringify({ ...sessionStorage })")


def test_a_cancelled_question_is_told_and_can_be_repeated(new_tab, guarded_server):
    """Escape closes the dialog; the page says why it shows nothing."""
    tab = new_tab(guarded_server.url)
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_role("dialog")).to_be_hidden()
    expect(tab.page.get_by_role("alert")).to_contain_text("The page cannot start")
    tab.button("Try again").click()
    enter(tab, ADMIN_KEY)
    expect(tab.heading("Playground")).to_be_visible()


def test_what_a_key_may_not_do_is_not_offered(new_tab, guarded_server, key):
    """Views without the scope are no links, and their places say which scope they need."""
    tab = new_tab(guarded_server.url)
    enter(tab, key("infer", tasks=["sentiment"])["key"])
    expect(tab.heading("Playground")).to_be_visible()
    expect(tab.page.get_by_role("navigation").get_by_role("link")).to_have_text(["Playground", "Batches"])
    tab.go("#/tasks")
    expect(tab.page.get_by_text('It lacks the scope "tasks:read".')).to_be_visible()


def test_a_key_that_is_revoked_meanwhile_is_asked_for_anew(new_tab, guarded_server, key, admin):
    """What was typed is kept, and the request goes on with the new key."""
    granted = key("infer")
    tab = new_tab(guarded_server.url)
    enter(tab, granted["key"])
    tab.page.get_by_label("Input").fill("the 4th of July 1976")
    assert admin.delete(f"/v1/keys/{granted['name']}").status_code == 200
    tab.button("Ask").click()
    expect(tab.page.get_by_text("The server does not accept the key.")).to_be_visible()
    enter(tab, ADMIN_KEY)
    expect(tab.page.get_by_text("1976-07-04")).to_be_visible()
    expect(tab.page.get_by_label("Input")).to_have_value("the 4th of July 1976")


def test_a_server_that_goes_away_is_told_where_it_matters(new_tab, tmp_path):
    """What was typed stays."""
    with ServerProcess(tmp_path / "log", data_dir=tmp_path / "data") as server:
        tab = new_tab(server.url)
        tab.page.get_by_label("Input").fill("I loved this film")
        server.kill()
        tab.button("Ask").click()
        expect(tab.page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
        expect(tab.page.get_by_label("Input")).to_have_value("I loved this film")
        tab.page.get_by_role("link", name="Tasks").click()
        expect(tab.page.get_by_role("alert")).to_be_visible()


def test_a_theme_is_chosen_and_kept(new_tab, server):
    """Before the first paint of the next load, too; the system's theme is the default."""
    tab = new_tab(server.url, color_scheme="light")
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = tab.page.evaluate(background)
    tab.page.get_by_text("Settings").click()
    tab.page.get_by_label("Dark").check()
    assert (tab.page.evaluate(scheme), tab.page.evaluate(background) != light) == ("dark", True)
    tab.page.reload()
    assert tab.page.evaluate(scheme) == "dark"
    tab.page.get_by_text("Settings").click()
    tab.page.get_by_label("System").check()
    assert tab.page.evaluate(background) == light
    tab.page.emulate_media(color_scheme="dark")
    assert tab.page.evaluate(background) != light


def test_the_keyboard_reaches_everything_that_a_mouse_does(tab):
    """The skip button first, then the views; Enter opens one and moves the focus into it."""
    expect(tab.heading("Playground")).to_be_visible()
    tab.page.keyboard.press("Tab")
    expect(tab.button("Skip to the content")).to_be_focused()
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("main")).to_be_focused()
    tab.page.get_by_role("link", name="Playground").focus()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    expect(tab.heading("Tasks")).to_be_visible()
    expect(tab.page.get_by_role("main")).to_be_focused()


def test_a_dialog_keeps_the_focus_and_gives_it_back(tab):
    """It begins in its field, and ends where it was opened."""
    tab.page.get_by_text("Settings").click()
    opener = tab.button("Enter a key")
    opener.click()
    expect(tab.page.get_by_label("Key", exact=True)).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(opener).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_serious(new_tab, server, scheme, viewport):
    """In any view, in both themes, with the settings and the dialog open."""
    tab = new_tab(server.url, color_scheme=scheme, viewport=viewport)
    for name in VIEWS:
        tab.page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(tab.heading(name)).to_be_visible()
        expect(tab.page.get_by_text(re.compile("^Loading"))).to_have_count(0)
        tab.check_accessible()
        tab.check_no_overflow()
    tab.page.get_by_text("Settings").click()
    tab.check_accessible()
    tab.button("Enter a key").click()
    tab.check_accessible()


def test_a_narrow_screen_has_its_views_at_the_bottom(new_tab, server):
    """Targets have 44 pixels, and nothing is wider than the screen."""
    tab = new_tab(server.url, viewport={"width": 320, "height": 700})
    expect(tab.heading("Playground")).to_be_visible()
    tab.check_no_overflow()
    for target in (*tab.page.get_by_role("link").all(), *tab.page.get_by_role("button").all()):
        box = target.bounding_box()
        if box is not None and target.is_visible() and "Skip" not in target.inner_text():
            assert box["height"] >= 44 or (box["height"] >= 26 and box["y"] < 56), (target.inner_text(), box)
    navigation = tab.page.get_by_role("navigation").bounding_box()
    assert navigation["y"] + navigation["height"] == 700


def test_the_first_load_is_small(chromium, server):
    """All that the first view needs, as it goes over the wire."""
    context = chromium.new_context()
    page = context.new_page()
    responses = []
    page.on("response", lambda one: responses.append(one))
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    files = [one for one in responses if "/v1/" not in one.url]
    sizes = {one.url: one.request.sizes()["responseBodySize"] for one in files}
    context.close()
    assert len(sizes) > 20 and sum(sizes.values()) < MAX_FIRST_LOAD_BYTES, sizes


def test_the_policy_stops_a_script_in_the_document(new_tab, server):
    """Even if markup got into the page, it would not run."""
    tab = new_tab(server.url)
    tab.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = true";
            document.body.append(script);
        }"""
    )
    assert tab.page.evaluate("window.hacked === undefined")
    assert len(tab.faults) == 1 and "Content Security Policy" in tab.faults.pop()


def test_hostile_texts_are_text(new_tab, server, api):
    """A description, labels and a note that are markup stand as they are in every view."""
    files = {name: (TASKS_DIR / "sentiment" / file).read_bytes() for name, file in (
        ("adapter_config", "adapter_config.json"), ("adapter_model", "adapter_model.safetensors")
    )}  # fmt: skip
    assert api.post("/v1/tasks", json={"name": "hostile", "description": MARKUP}).status_code == 201
    manifest = {"template": f"{MARKUP} {{input}}", "labels": [MARKUP, "plain"], "note": MARKUP}
    published = api.post("/v1/tasks/hostile/versions", files=files, data={"manifest": json.dumps(manifest)})
    assert published.status_code == 201, published.text
    tab = new_tab(server.url, "#/tasks")
    expect(tab.page.get_by_text(MARKUP)).to_be_visible()
    for name in VIEWS:
        tab.page.get_by_role("link", name=name).click()
        expect(tab.heading(name)).to_be_visible()
        tab.check_no_markup()


def test_the_page_works_below_a_prefix(new_tab, server, chromium):
    """As behind a proxy that removes `--root-path`: every URL is relative to the page."""
    context = chromium.new_context()
    context.route("**/prefix/**", lambda route: route.fulfill(
        response=route.fetch(url=route.request.url.replace("/prefix/", "/", 1))
    ))  # fmt: skip
    tab = new_tab(f"{server.url}/prefix", "#/tasks", context=context)
    expect(tab.page.get_by_role("cell", name="sentiment", exact=True)).to_be_visible()
    context.close()
