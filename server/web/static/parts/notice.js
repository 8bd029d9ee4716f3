/** Words about what happened, where it happened. */

import { ApiError, isAbort } from "../api/errors.js";
import { html } from "../preact.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/** @typedef {"info" | "good" | "warn" | "bad"} Tone */

/**
 * @param {{
 *   tone?: Tone, title?: string, children?: import("../preact.js").Children, action?: import("../preact.js").Children,
 *   onDismiss?: () => void,
 * }} props A `bad` one interrupts a screen reader; the others wait.
 */
export const Notice = ({ tone = "info", title, children, action, onDismiss }) => html`<div
  class=${`notice ${tone}`} role=${tone === "bad" ? "alert" : "status"}
>
  <${Icon} name=${tone} />
  <div class="notice-text">
    ${title && html`<strong>${title}</strong>`}
    ${children && html`<div>${children}</div>`}
  </div>
  ${action}
  ${onDismiss && html`<${Button} kind="quiet" icon="close" label="Dismiss" isSmall onClick=${onDismiss} />`}
</div>`;

/**
 * An error of a request, in the server's words; nothing without one. `advice` says what to do where the page knows more.
 * @param {{ error: unknown, title?: string, advice?: string, onRetry?: () => void, onDismiss?: () => void }} props
 */
export function ErrorNotice({ error, title, advice, onRetry, onDismiss }) {
  if (error === null || error === undefined || isAbort(error)) return null;
  const { tone, words } = describe(error);
  return html`<${Notice}
    tone=${tone} title=${title} onDismiss=${onDismiss}
    action=${onRetry && html`<${Button} isSmall icon="reload" onClick=${onRetry}>Try again<//>`}
  >
    ${words.map((line) => html`<p>${line}</p>`)}
    ${advice && html`<p>${advice}</p>`}
  <//>`;
}

/** @param {unknown} error @returns {{ tone: Tone, words: string[] }} */
function describe(error) {
  if (!(error instanceof ApiError)) return { tone: "bad", words: [`The page failed: ${error instanceof Error ? error.message : String(error)}`] };
  const words = [sentence(error.message)];
  if (error.isStale) words.push("Somebody changed it meanwhile. Your input is kept: load the present state, and decide again.");
  if (error.status === 401) words.push("Enter a key to go on.");
  if (error.retryAfter !== null) words.push(`Try again in ${error.retryAfter} s.`);
  return { tone: error.status === 429 || error.status === 503 || error.isStale ? "warn" : "bad", words };
}

/** A message as a sentence; one that begins with a parameter's name keeps it as it is. @param {string} message */
export function sentence(message) {
  const text = /^[a-z]+ /.test(message) ? message.charAt(0).toUpperCase() + message.slice(1) : message;
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
