/** What the manifest of a version says. */

import { Badge, Code, Facts, Panel, Verbatim } from "../../parts/index.js";
import { html, useState } from "../../preact.js";

/** @typedef {import("../../api/types.js").Version["manifest"]} Manifest */

const SHOWN = 24;
const MAX_LENGTH = 500;

/** What a version without labels of its own has. @type {Record<string, string>} */
const NO_LABELS = {
  SEQ_CLS: "the base model's, or LABEL_0, LABEL_1 …",
  TOKEN_CLS: "the base model's, or LABEL_0, LABEL_1 …",
};

/** @param {{ manifest: Manifest, taskType?: string | null }} props `taskType` of a version with a head. */
export function ManifestPanel({ manifest, taskType }) {
  const { template, labels, stop, add_special_tokens: special, defaults, task_index: index, note, pooling, normalize, problem_type: problem } = manifest;
  return html`<${Panel} title="Manifest">
    <${Facts} facts=${[
      ["Note", note && html`<${Long} label="Note" length=${note.length}><span class="tasks-note">${note}</span><//>`],
      ["Template", template === null ? "none: the input is the prompt" : html`<${Long} label="Template" length=${template.length}><${Verbatim} text=${template} /><//>`],
      ["Labels", labels.length === 0 ? (NO_LABELS[taskType ?? ""] ?? "none") : html`<${TextList} texts=${labels} />`],
      ["Stop", taskType ? null : stop.length === 0 ? "none" : html`<${TextList} texts=${stop} />`],
      ["Special tokens", special === null ? "as the tokenizer does" : special ? "added" : "not added"],
      ["Task index", index],
      ["Problem type", problem],
      ["Pooling", taskType === "FEATURE_EXTRACTION" ? (pooling ?? "the last token of a decoder, the mean of an encoder") : null],
      ["Normalized", taskType === "FEATURE_EXTRACTION" ? (normalize === false ? "no" : "to length 1") : null],
    ]} />
    ${Object.keys(defaults).length > 0 && html`<${Code} label="Defaults of requests" text=${JSON.stringify(defaults, null, 2)} />`}
  <//>`;
}

/** A text that scrolls if it is long. @param {{ label: string, length: number, children?: import("../../preact.js").Children }} props */
const Long = ({ label, length, children }) =>
  length <= MAX_LENGTH ? html`${children}` : html`<div class="tasks-long" role="region" aria-label=${label} tabindex="0">${children}</div>`;

/** Many short texts. @param {{ texts: string[] }} props */
function TextList({ texts }) {
  const [isWhole, setIsWhole] = useState(false);
  const shown = isWhole ? texts : texts.slice(0, SHOWN);
  return html`<span class="tasks-badges">
    ${shown.map((text) => html`<${Badge} key=${text} title=${text}>${text}<//>`)}
    ${shown.length < texts.length && html`<button type="button" class="tasks-more" onClick=${() => setIsWhole(true)}>and ${texts.length - shown.length} more</button>`}
  </span>`;
}
