/** The frame around the views: navigation, the caller and their key, the theme. */

import { Button, Choice, Empty, ErrorNotice, Icon, Spinner } from "./parts/index.js";
import { html, useEffect, useErrorBoundary, useRef, useState } from "./preact.js";
import { KeyDialog } from "./key_dialog.js";
import { hrefOf, usePlace } from "./router.js";
import { isOpen, loadCaller, may, useCaller } from "./state/caller.js";
import { askForKey, forgetKey, key } from "./state/key.js";
import { useStore } from "./state/store.js";
import { chooseTheme, theme } from "./state/theme.js";
import { VIEWS } from "./views.js";

/** @typedef {import("./views.js").View} View */

export function Shell() {
  const place = usePlace();
  const { body: caller, error } = useCaller();
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const allowed = VIEWS.filter((view) => may(caller, view.scope));
  const view = place.view === "" ? (allowed[0] ?? VIEWS[0]) : VIEWS.find((one) => one.id === place.view);

  const earlier = useRef(view?.id);
  useEffect(() => {
    document.title = `${view?.title ?? "Not found"} · softprompt-server`;
    if (earlier.current !== view?.id) main.current?.focus(); // a screen reader reads the new view
    earlier.current = view?.id;
  }, [view?.id]);

  return html`<div class="shell">
    <button type="button" class="skip" onClick=${() => main.current?.focus()}>Skip to the content</button>
    <header class="bar">
      <a class="brand" href=${hrefOf("playground")}><img src="web/icon.svg" alt="" width="26" height="26" /><span>softprompt</span></a>
      <nav aria-label="Views">
        ${(caller === null ? VIEWS : allowed).map((one) => html`<a
          key=${one.id} href=${hrefOf(one.id)} aria-current=${one === view ? "page" : undefined}
        ><${Icon} name=${one.icon} size=${20} /><span>${one.title}</span></a>`)}
      </nav>
      <${Account} />
    </header>
    <main ref=${main} tabindex="-1">${content(view, place, caller, error)}</main>
    <${KeyDialog} />
  </div>`;
}

/**
 * @param {View | undefined} view @param {import("./router.js").Place} place
 * @param {import("./state/caller.js").CallerKey | null} caller @param {unknown} error
 */
function content(view, place, caller, error) {
  if (view === undefined) {
    return html`<${Empty} title="There is no such view" action=${html`<a href=${hrefOf("playground")}>Go to the playground</a>`} />`;
  }
  if (caller === null && error !== null) {
    return html`<div class="page"><${ErrorNotice} title="The page cannot start" error=${error} onRetry=${loadCaller} /></div>`;
  }
  if (caller === null) return html`<${Spinner} />`;
  if (!may(caller, view.scope)) {
    return html`<${Empty} title=${`This key may not see ${view.title}`}>It lacks the scope "${view.scope}".<//>`;
  }
  return html`<${LazyView} key=${view.id} view=${view} place=${place} />`;
}

/** Loads the view's file when it is first opened. @param {{ view: View, place: import("./router.js").Place }} props */
function LazyView({ view, place }) {
  const [loaded, setLoaded] = useState(/** @type {{ Body?: unknown, error?: unknown }} */ ({}));
  const [failure, clearFailure] = useErrorBoundary();
  useEffect(() => {
    let isWanted = true;
    view.load().then(
      (module) => isWanted && setLoaded({ Body: module.default }),
      (error) => isWanted && setLoaded({ error }),
    );
    return () => {
      isWanted = false;
    };
  }, [view]);
  if (failure) return html`<div class="page"><${ErrorNotice} title="This view stopped" error=${failure} onRetry=${clearFailure} /></div>`;
  if (loaded.error) {
    const retry = () => location.reload(); // a browser keeps a module that failed
    return html`<div class="page"><${ErrorNotice} title="This view could not be loaded" error=${loaded.error} onRetry=${retry} /></div>`;
  }
  return loaded.Body ? html`<${loaded.Body} place=${place} />` : html`<${Spinner} />`;
}

/** The caller, their key and the theme. On a narrow screen it opens from a button. */
function Account() {
  const { body: caller } = useCaller();
  const secret = useStore(key);
  const chosen = useStore(theme);
  const details = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const close = (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && details.current?.removeAttribute("open");
  return html`<details class="account" ref=${details} onKeyDown=${close}>
    <summary><${Icon} name=${isOpen(caller) ? "settings" : "key"} size=${20} /><span>${isOpen(caller) ? "Settings" : (caller?.name ?? "No key")}</span></summary>
    <div class="account-body">
      <p class="hint">${callerText(caller, secret)}</p>
      ${secret !== null
        ? html`<${Button} icon="trash" onClick=${forgetKey}>Forget the key<//>`
        : html`<${Button} icon="key" onClick=${() => void askForKey("chosen")}>Enter a key<//>`}
      <${Choice} label="Theme" value=${chosen} onChange=${chooseTheme} options=${[
        { value: "system", label: "System" }, { value: "light", label: "Light" }, { value: "dark", label: "Dark" },
      ]} />
      <a href="docs">HTTP API</a>
    </div>
  </details>`;
}

/** @param {import("./state/caller.js").CallerKey | null} caller @param {string | null} secret */
function callerText(caller, secret) {
  if (caller === null) return secret === null ? "No key is entered." : "The key was not accepted yet.";
  if (isOpen(caller)) return "This server asks for no key.";
  const tasks = caller.tasks === null ? "all tasks" : `the tasks ${caller.tasks.join(", ")}`;
  return `Scopes: ${caller.scopes.join(", ")}; for ${tasks}.`;
}
