/** The fields of a manifest in the form that publishes a version: those that the checkpoint's task type has. */

import { Choice, fieldError, NumberField, Panel, Select, TextArea } from "../../parts/index.js";
import { html } from "../../preact.js";
import { hasHead } from "./words.js";

/** @typedef {import("./publish_form.js").PublishForm} PublishForm */

const PROBLEM_TYPES = [
  { value: "single_label_classification", label: "one label (single_label_classification)" },
  { value: "multi_label_classification", label: "several labels at once (multi_label_classification)" },
  { value: "regression", label: "numbers (regression)" },
];
const POOLINGS = [
  { value: "last", label: "the last token" },
  { value: "mean", label: "the mean of the text" },
  { value: "first", label: "the first position, of an encoder only" },
];

/**
 * @param {{
 *   form: PublishForm, change: (fields: Partial<PublishForm>) => void, error: unknown, fault: string | null, config: import("./checkpoint.js").JsonObject,
 * }} props `config` is what the checkpoint's own file says. A field that its task type does not have is there only if it is filled.
 */
export function ManifestFields({ form, change, error, fault, config: { peft_type: peftType, task_type: taskType } }) {
  const hasTemplate = !["TOKEN_CLS", "QUESTION_ANS"].includes(String(taskType)) || form.template !== "";
  const hasLabels = !["QUESTION_ANS", "FEATURE_EXTRACTION"].includes(String(taskType)) || form.labels !== "";
  return html`<${Panel} title="Manifest" note="How requests are asked. All of it may stay empty.">
    ${hasTemplate && html`<${TextArea}
      label="Template" value=${form.template} onInput=${(/** @type {string} */ template) => change({ template })} rows=${3} isMono placeholder="Review: {input}"
      hint="Stands around each input, which goes where {input} is. Spaces and line ends count." error=${fault ?? fieldError(error, "manifest.template")}
    />`}
    ${hasLabels && html`<${TextArea}
      label="Labels" value=${form.labels} onInput=${(/** @type {string} */ labels) => change({ labels })} rows=${3} isMono
      hint=${hasHead(taskType) ? "One per line, in the order of the head's outputs. Empty: the base model's, or LABEL_0, LABEL_1 …" : "One per line, for classification. Spaces count."}
      error=${fieldError(error, "manifest.labels")}
    />`}
    ${(taskType === "SEQ_CLS" || form.problemType !== "") && html`<${Select}
      label="Problem type" value=${form.problemType} onChange=${(/** @type {string} */ problemType) => change({ problemType })} error=${fieldError(error, "manifest.problem_type")}
      options=${[{ value: "", label: "the base model's own, or by the number of outputs" }, ...PROBLEM_TYPES]}
    />`}
    ${(taskType === "FEATURE_EXTRACTION" || form.pooling !== "") && html`<${Select}
      label="Pooling" value=${form.pooling} onChange=${(/** @type {string} */ pooling) => change({ pooling })} error=${fieldError(error, "manifest.pooling")}
      options=${[{ value: "", label: "the last token of a decoder, the mean of an encoder" }, ...POOLINGS]}
    />`}
    ${(taskType === "FEATURE_EXTRACTION" || form.normalize !== "") && html`<${Select}
      label="Length of vectors" value=${form.normalize} onChange=${(/** @type {PublishForm["normalize"]} */ normalize) => change({ normalize })} error=${fieldError(error, "manifest.normalize")}
      options=${[{ value: "", label: "1 (default)" }, { value: "yes", label: "1" }, { value: "no", label: "as the model gives them" }]}
    />`}
    <${Choice}
      label="The tokenizer's special tokens" value=${form.special} onChange=${(/** @type {PublishForm["special"]} */ special) => change({ special })}
      options=${[{ value: "default", label: "Default" }, { value: "yes", label: "Add" }, { value: "no", label: "Do not add" }]}
    />
    ${(peftType === "MULTITASK_PROMPT_TUNING" || form.taskIndex !== "") && html`<${NumberField}
      label="Task index" value=${form.taskIndex} onInput=${(/** @type {string} */ taskIndex) => change({ taskIndex })}
      hint="Which of the checkpoint's tasks, from 0." error=${fieldError(error, "manifest.task_index")}
    />`}
    <${TextArea} label="Note" value=${form.note} onInput=${(/** @type {string} */ note) => change({ note })} rows=${2} hint="For people." error=${fieldError(error, "manifest.note")} />
  <//>`;
}
