/** The frame of a view, and what stands in it. */

import { html } from "../preact.js";
import { ago, dateOf, moment } from "../format.js";
import { Icon } from "./icon.js";

/** @typedef {import("../preact.js").Children} Children */

/** A view: one heading, an optional lead, actions at its right. @param {{ title: Children, lead?: Children, actions?: Children, back?: { href: string, label: string }, children?: Children }} props */
export const Page = ({ title, lead, actions, back, children }) => html`<div class="page">
  <header class="page-head">
    <div>
      ${back && html`<a class="back" href=${back.href}><${Icon} name="back" size=${16} />${back.label}</a>`}
      <h1>${title}</h1>
      ${lead && html`<p class="lead">${lead}</p>`}
    </div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </header>
  ${children}
</div>`;

/** A framed part of a view. `isFlush`: its content, such as a table, reaches the frame. @param {{ title?: Children, note?: Children, actions?: Children, isFlush?: boolean, children?: Children }} props */
export const Panel = ({ title, note, actions, isFlush, children }) => html`<section class=${`panel ${isFlush ? "flush" : ""}`}>
  ${(title || actions) && html`<header class="panel-head">
    <div>${title && html`<h2>${title}</h2>`}${note && html`<p class="hint">${note}</p>`}</div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </header>`}
  <div class="panel-body">${children}</div>
</section>`;

/** Things side by side, that wrap where there is no room. @param {{ children?: Children, isSpread?: boolean }} props */
export const Row = ({ children, isSpread }) => html`<div class=${`row ${isSpread ? "spread" : ""}`}>${children}</div>`;

/** Equal columns of at least `min` pixels. @param {{ children?: Children, min?: number }} props */
export const Columns = ({ children, min = 280 }) => html`<div class="columns" style=${{ "--column": `${min}px` }}>${children}</div>`;

/** Nothing there yet: why, and what to do. @param {{ title: string, children?: Children, action?: Children }} props */
export const Empty = ({ title, children, action }) => html`<div class="empty">
  <p class="empty-title">${title}</p>
  ${children && html`<p>${children}</p>`}
  ${action}
</div>`;

/** Something is loaded. @param {{ label?: string }} props */
export const Spinner = ({ label = "Loading" }) => html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${label}…</p>`;

/** @param {{ tone?: "plain" | "accent" | "good" | "warn" | "bad" | "info", children?: Children, title?: string }} props */
export const Badge = ({ tone = "plain", children, title }) => html`<span class=${`badge ${tone}`} title=${title}>${children}</span>`;

/** A figure with its unit. @param {{ label: string, value: Children, unit?: string, hint?: Children }} props */
export const Stat = ({ label, value, unit, hint }) => html`<div class="stat">
  <dt>${label}</dt>
  <dd>${value}${unit && html`<span class="unit"> ${unit}</span>`}${hint && html`<span class="stat-hint">${hint}</span>`}</dd>
</div>`;

/** @param {{ children?: Children }} props */
export const Stats = ({ children }) => html`<dl class="stats">${children}</dl>`;

/** Names and values. A value that is null or undefined is left out. @param {{ facts: [string, Children][] }} props */
export const Facts = ({ facts }) => html`<dl class="facts">
  ${facts.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;

/** How long ago; the time itself on hover. @param {{ at: string | number }} props ISO 8601, or Unix time in seconds. */
export function Time({ at }) {
  const date = dateOf(at);
  return html`<time datetime=${date.toISOString()} title=${moment(date)}>${ago(date)}</time>`;
}
