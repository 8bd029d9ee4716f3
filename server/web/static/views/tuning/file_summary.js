/** What is in a file of examples: its first rows, its labels, and what is wrong with it. */

import { counted, number, percent } from "../../format.js";
import { Badge, Notice, Table } from "../../parts/index.js";
import { html } from "../../preact.js";
import { FORM_KEYS } from "./line_check.js";

const MAX_SHOWN = 240;
const MAX_LABELS = 12;
const MAX_PROBLEMS = 10;

/** @typedef {import("./scan.js").Scan} Scan */
/** @typedef {import("./scan.js").Row} Row */

/** @param {{ scan: Scan, name: string }} props `name` is of the file. */
export const FileSummary = ({ scan, name }) => html`<div class="tuning-summary">
  <p>${inWords(scan)}</p>
  <${Problems} scan=${scan} />
  ${scan.labels.size > 0 && html`<${Labels} labels=${scan.labels} />`}
  ${scan.columns.length > 0 && html`<p
    class="hint">Only ${scan.form && FORM_KEYS[scan.form].join(" and ")} are used. Further columns: ${scan.columns.map(shortened).join(", ")}</p>`}
  ${scan.rows.length > 0 && html`<${Rows} scan=${scan} name=${name} />`}
</div>`;

/** @param {Scan} scan */
function inWords({ numLines, numExamples, form, numProblems }) {
  const forms = { completion: "prompts and completions", label: "texts and labels", chat: "conversations" };
  const parts = [counted(numLines, "line")];
  if (form !== null) parts.push(forms[form]);
  if (form === "chat") parts.push(counted(numExamples, "answer to learn", "answers to learn"));
  if (numProblems === 0) parts.push("every line is valid");
  return parts.join(" · ");
}

/** @param {{ scan: Scan }} props */
function Problems({ scan }) {
  if (scan.numProblems === 0) return null;
  const shown = scan.problems.slice(0, MAX_PROBLEMS);
  return html`<${Notice} tone="bad" title=${`${counted(scan.numProblems, "problem")} in the file: nothing was sent`}>
    <ul class="tuning-problems">
      ${shown.map((problem, index) => html`<li
        key=${index}>${problem.number === null ? problem.text : `Line ${problem.number} ${problem.text}.`}</li>`)}
    </ul>
    ${scan.numProblems > shown.length && html`<p>And ${number(scan.numProblems - shown.length)} more. Correct the file, then choose it again.</p>`}
  <//>`;
}

/** @param {{ labels: Map<string, number> }} props */
function Labels({ labels }) {
  const counts = [...labels].sort((a, b) => b[1] - a[1]);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  return html`<div class="tuning-labels">
    <span>${counted(labels.size, "label")}</span>
    ${counts.slice(0, MAX_LABELS).map(([label, count]) => html`<${Badge} key=${label}
      title=${`${number(count)} lines, ${percent(count / total)}`}>${shortened(label)} · ${number(count)}<//>`)}
    ${counts.length > MAX_LABELS && html`<span class="hint">and ${number(counts.length - MAX_LABELS)} more</span>`}
  </div>`;
}

/** @param {{ scan: Scan, name: string }} props */
function Rows({ scan, name }) {
  const [inputKey, answerKey] = scan.form === "chat" ? ["messages before", "answer"] : FORM_KEYS[scan.form ?? "completion"];
  /** @type {import("../../parts/table.js").Column<Row>[]} */
  const columns = [
    { title: "Line", isNumber: true, render: (row) => number(row.number) },
    { title: inputKey, render: (row) => html`<span class="tuning-text">${shortened(row.line.input)}</span>` },
    { title: answerKey, render: (row) => html`<span class="tuning-text">${shortened(row.line.answer)}</span>` },
  ];
  return html`<div class="tuning-rows examples"><${Table} label=${`First lines of ${name}`} columns=${columns} rows=${scan.rows}
    rowKey=${(/** @type {Row} */ row) => row.number} /></div>`;
}

/** The beginning of a text, with its length where that is more. @param {string} text */
export const shortened = (text) => (text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}… (${number(text.length)} characters)`);
