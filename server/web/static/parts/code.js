/** Text to copy, and text exactly as it is. */

import { html } from "../preact.js";
import { CopyButton } from "./button.js";

/** A block with a button that copies it. @param {{ text: string, label: string }} props `label` says what it is. */
export const Code = ({ text, label }) => html`<figure class="code">
  <figcaption><span>${label}</span><${CopyButton} text=${text} /></figcaption>
  <pre tabindex="0" aria-label=${label}><code>${text}</code></pre>
</figure>`;

/** A short text, such as a template, with the spaces at its ends and its line ends as signs. @param {{ text: string }} props */
export const Verbatim = ({ text }) => html`<code class="verbatim">${shown(text)}</code>`;

/** @param {string} text */
const shown = (text) =>
  text.replace(/^ +| +$/g, (spaces) => "\u2423".repeat(spaces.length)).replaceAll("\n", "\u21b5\n").replace(/\n$/, "");
