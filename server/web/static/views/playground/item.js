/** An answer that is no text: classes, numbers, labelled tokens, found answers, a vector. */

import { number, percent } from "../../format.js";
import { Bars, CopyButton, Facts, Table } from "../../parts/index.js";
import { html } from "../../preact.js";
import { groupsOf, isOutside, OUTSIDE } from "./token_groups.js";

/** @typedef {import("../../api/types.js").Schemas} Schemas */

const NUM_COLOURS = 7;
const SHOWN_NUMBERS = 6;

/** @param {{ item: import("./answer.js").Item, text: string }} props `text`: what was read, in which places are counted. */
export function ItemView({ item, text }) {
  if ("probabilities" in item) return html`<${Labels} classification=${item} />`;
  if ("values" in item) return html`<${Facts} facts=${item.values.map((value, index) => [item.values.length === 1 ? "Value" : `Value ${index + 1}`, html`<code>${exact(value)}</code>`])} />`;
  if ("tokens" in item) return html`<${LabelledText} tokens=${item.tokens} text=${text} />`;
  if ("answers" in item) return html`<${FoundAnswers} answers=${item.answers} text=${text} />`;
  return html`<${Vector} values=${/** @type {number[]} */ (item.embedding)} />`;
}

/** @param {{ classification: Schemas["Classification"] }} props */
const Labels = ({ classification }) => html`<${Bars}
  label="Probability of each label" highlighted=${classification.label}
  bars=${[...classification.probabilities].sort((a, b) => b.probability - a.probability).map((one) => ({ name: one.label, value: one.probability }))}
/>`;

/** The text with its labels in it, and every token in a table. @param {{ tokens: Schemas["LabelledToken"][], text: string }} props */
function LabelledText({ tokens, text }) {
  const groups = groupsOf(tokens, text);
  const names = [...new Set(groups.map((group) => group.label))].filter((label) => label !== null && !isOutside(label));
  return html`
    <p class="playground-answer">${groups.map((group, index) => group.label === null || isOutside(group.label)
      ? group.text
      : html`<mark key=${index} class=${`playground-label playground-label-${(names.indexOf(group.label) % NUM_COLOURS) + 1}`} title=${percent(group.score)}>
          ${group.text}<span class="playground-label-name">${group.label}</span>
        </mark>`)}</p>
    ${names.length === 0 && html`<p class="hint">No token has another label than ${OUTSIDE}.</p>`}
    <details class="playground-logprobs">
      <summary>Every token</summary>
      <${Table}
        label="Every token" rows=${tokens} rowKey=${(/** @type {Schemas["LabelledToken"]} */ token) => token.start + "-" + token.end}
        columns=${[
          { title: "Token", render: (/** @type {Schemas["LabelledToken"]} */ token) => html`<code>${token.text}</code>` },
          { title: "Label", render: (/** @type {Schemas["LabelledToken"]} */ token) => token.label },
          { title: "Probability", isNumber: true, render: (/** @type {Schemas["LabelledToken"]} */ token) => percent(token.score) },
        ]}
      />
    </details>`;
}

/** The text with the best answer marked, and the answers by their scores. @param {{ answers: Schemas["FoundAnswer"][], text: string }} props */
function FoundAnswers({ answers, text }) {
  const letters = [...text]; // places are counted in characters, not in halves of surrogate pairs
  const [best] = answers;
  if (best === undefined) return html`<p class="hint">No answer was found.</p>`;
  const found = best.text.trimStart(); // many vocabularies count the space to the word behind it
  return html`
    <p class="playground-answer">${letters.slice(0, best.end - [...found].length).join("")}<mark class="playground-label playground-label-1">${found}</mark>${letters.slice(best.end).join("")}</p>
    <${Bars} label="Score of each answer" highlighted=${best.text.trim()} bars=${answers.map((answer) => ({ name: answer.text.trim(), value: answer.score }))} />`;
}

/** @param {{ values: number[] }} props */
const Vector = ({ values }) => html`<${Facts} facts=${[
  ["Numbers", number(values.length)],
  ["Length", number(Math.hypot(...values))],
  ["Vector", html`<span class="playground-vector"><code>[${values.slice(0, SHOWN_NUMBERS).map(exact).join(", ")}${values.length > SHOWN_NUMBERS ? ", …" : ""}]</code><${CopyButton} text=${JSON.stringify(values)} label="Copy the vector" /></span>`],
]} />`;

/** @param {number} value */
const exact = (value) => String(Number(value.toPrecision(4)));
