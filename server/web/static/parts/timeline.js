/** What happened, newest first. */

import { html } from "../preact.js";
import { Time } from "./layout.js";

/** @typedef {import("../preact.js").Children} Children */

/**
 * @param {{
 *   label: string, empty?: Children,
 *   items: { id: string | number, at: string | number, title: Children, by?: string, note?: Children, tone?: "plain" | "accent" | "good" | "warn" | "bad" }[],
 * }} props `at` is ISO 8601, or Unix time in seconds.
 */
export const Timeline = ({ label, items, empty }) =>
  items.length === 0 && empty !== undefined
    ? html`${empty}`
    : html`<ol class="timeline" aria-label=${label}>
        ${items.map((item) => html`<li key=${item.id} class=${item.tone ?? "plain"}>
          <div class="timeline-title">${item.title}</div>
          <div class="hint"><${Time} at=${item.at} />${item.by && ` · ${item.by}`}</div>
          ${item.note && html`<div class="timeline-note">${item.note}</div>`}
        </li>`)}
      </ol>`;
