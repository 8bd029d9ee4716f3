/** An example as the model sees it, token by token. */

import { counted, number } from "../../format.js";
import { Checkbox } from "../../parts/index.js";
import { html, useState } from "../../preact.js";

const MAX_SHOWN = 160;

/** @typedef {{ id: number, text: string, learnt: boolean }} Token */

/** @param {{ examples: { title: string, tokens: Token[] }[], numVirtual: number, maxLength?: number }} props `maxLength` is the room for all tokens. */
export function Examples({ examples, numVirtual, maxLength }) {
  const [hasIds, setHasIds] = useState(false);
  return html`<div class="tuning-examples">
    <div class="row spread">
      <p class="hint">
        <span class="tuning-token virtual">virtual</span> learnt vectors, before each example
        · <span class="tuning-token">input</span> read only
        · <span class="tuning-token learnt">answer</span> what is learnt
      </p>
      <${Checkbox} label="Token ids" isChecked=${hasIds} onChange=${setHasIds} />
    </div>
    <ol>
      ${examples.map(({ title, tokens }, index) => html`<li key=${index}>
        <p class="hint">${title} · ${lengthOf(tokens, numVirtual, maxLength)}</p>
        <p class="tuning-tokens">
          <span class="tuning-token virtual">${numVirtual} × virtual</span>
          ${tokens.slice(0, MAX_SHOWN).map((token, place) => html`<span
            key=${place} class=${`tuning-token ${token.learnt ? "learnt" : ""}`} title=${`Token ${token.id}`}
          >${visible(token.text)}${hasIds && html`<small>${token.id}</small>`}</span>`)}
          ${tokens.length > MAX_SHOWN && html`<span class="hint">… and ${number(tokens.length - MAX_SHOWN)} more</span>`}
        </p>
      </li>`)}
    </ol>
  </div>`;
}

/** @param {Token[]} tokens @param {number} numVirtual @param {number | undefined} maxLength */
function lengthOf(tokens, numVirtual, maxLength) {
  const text = `${numVirtual} virtual and ${counted(tokens.length, "token")}`;
  return maxLength === undefined ? text : `${text} of at most ${number(maxLength)}`;
}

/** White space as signs. @param {string} text */
const visible = (text) => text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5") || "\u2205";
