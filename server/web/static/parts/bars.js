/** Shares as bars, each with its figure. */

import { html } from "../preact.js";
import { percent } from "../format.js";

/**
 * @param {{
 *   label: string, bars: { name: string, value: number, note?: string }[], max?: number,
 *   format?: (value: number) => string, highlighted?: string,
 * }} props `max` is the value of a full bar. `highlighted` is the name of the bar in the accent colour.
 */
export const Bars = ({ label, bars, max = 1, format = percent, highlighted }) => html`<ul class="bars" aria-label=${label}>
  ${bars.map((bar, index) => html`<li key=${index} class=${bar.name === highlighted ? "highlighted" : ""}>
    <span class="bar-name">${bar.name}</span>
    <span class="bar-value">${format(bar.value)}${bar.note && html` <small>${bar.note}</small>`}</span>
    <span class="bar-track" aria-hidden="true"><span style=${{ width: `${Math.min(100, Math.max(0, (bar.value / max) * 100))}%` }}></span></span>
  </li>`)}
</ul>`;
