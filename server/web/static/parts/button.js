/** Buttons, and links that look like them. */

import { html, useRef, useState } from "../preact.js";
import { Icon } from "./icon.js";

/** @typedef {import("../preact.js").Children} Children */

/**
 * @param {{
 *   children?: Children, onClick?: (event: MouseEvent) => void, kind?: "plain" | "primary" | "danger" | "quiet",
 *   icon?: import("./icon.js").IconName, label?: string, isBusy?: boolean, isDisabled?: boolean, isSmall?: boolean,
 *   type?: "button" | "submit", [attribute: string]: unknown,
 * }} props `label` names a button that shows only its icon. A busy button cannot be pressed, and keeps the focus.
 */
export function Button({ children, onClick, kind = "plain", icon, label, isBusy, isDisabled, isSmall, type = "button", ...more }) {
  const names = ["button", kind, isSmall && "small", children === undefined && "icon-only"].filter(Boolean).join(" ");
  const press = (/** @type {MouseEvent} */ event) => (isBusy ? event.preventDefault() : onClick?.(event));
  return html`<button
    type=${type} class=${names} onClick=${press} disabled=${isDisabled} aria-busy=${isBusy ? "true" : undefined}
    aria-label=${label} title=${label} ...${more}
  >
    ${isBusy ? html`<span class="spinner" aria-hidden="true"></span>` : icon && html`<${Icon} name=${icon} />`}
    ${children !== undefined && html`<span>${children}</span>`}
  </button>`;
}

/** A link to a place of `hrefOf`, in the clothes of a button. @param {{ href: string, children?: Children, icon?: import("./icon.js").IconName, kind?: string, isSmall?: boolean }} props */
export const LinkButton = ({ href, children, icon, kind = "plain", isSmall }) => html`<a
  class=${`button ${kind} ${isSmall ? "small" : ""}`} href=${href}
>
  ${icon && html`<${Icon} name=${icon} />`}<span>${children}</span>
</a>`;

/** Copies a text. @param {{ text: string, label?: string, isSmall?: boolean }} props */
export function CopyButton({ text, label = "Copy", isSmall = true }) {
  const [state, setState] = useState(/** @type {"" | "done" | "failed"} */ (""));
  const timer = useRef(0);
  const copy = async () => {
    setState((await copyText(text)) ? "done" : "failed");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setState(""), 2_000);
  };
  return html`<${Button} onClick=${copy} kind="quiet" icon=${state === "done" ? "done" : "copy"} isSmall=${isSmall}>
    <span aria-live="polite">${{ "": label, done: "Copied", failed: "Not copied" }[state]}</span>
  <//>`;
}

/** @param {string} text */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // a page over plain HTTP has no clipboard
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}
