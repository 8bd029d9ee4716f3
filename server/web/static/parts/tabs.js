/** Parts of a view, one of which is shown. */

import { html, useId, useRef } from "../preact.js";

/**
 * @param {{
 *   label: string, tabs: { id: string, title: string, content: () => import("../preact.js").Children }[],
 *   selected: string, onSelect: (id: string) => void,
 * }} props The content of the other tabs is not rendered. Arrow keys move between the tabs.
 */
export function Tabs({ label, tabs, selected, onSelect }) {
  const id = useId();
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const index = Math.max(0, tabs.findIndex((tab) => tab.id === selected));
  const current = tabs[index];
  const move = (/** @type {KeyboardEvent} */ event) => {
    const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const target = (next + tabs.length) % tabs.length;
    onSelect(tabs[target].id);
    /** @type {HTMLElement} */ (list.current?.children[target])?.focus();
  };
  return html`<div class="tabs">
    <div role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
      ${tabs.map((tab) => html`<button
        key=${tab.id} type="button" role="tab" id=${`${id}-${tab.id}`} aria-controls=${`${id}-panel`}
        aria-selected=${tab === current ? "true" : "false"} tabindex=${tab === current ? 0 : -1} onClick=${() => onSelect(tab.id)}
      >${tab.title}</button>`)}
    </div>
    <div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${current.id}`} tabindex="0">${current.content()}</div>
  </div>`;
}
