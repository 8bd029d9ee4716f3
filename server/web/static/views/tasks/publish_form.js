/** What is typed to publish a version, and the request that it becomes. */

import { CONFIG, TENSORS } from "./checkpoint.js";

/** @typedef {import("./checkpoint.js").Checkpoint} Checkpoint */
/** @typedef {import("./checkpoint.js").JsonObject} JsonObject */
/**
 * @typedef {object} PublishForm
 * @property {string} task
 * @property {string} description
 * @property {string} template
 * @property {string} labels One per line.
 * @property {"default" | "yes" | "no"} special
 * @property {string} note
 * @property {string} taskIndex
 * @property {string} pooling Of these three, an empty text leaves the default.
 * @property {"" | "yes" | "no"} normalize
 * @property {string} problemType
 * @property {boolean} isPromoted
 * @property {boolean} allowsMismatch
 */

/** @type {PublishForm} */
export const EMPTY_FORM = {
  task: "", description: "", template: "", labels: "", special: "default", note: "", taskIndex: "",
  pooling: "", normalize: "", problemType: "", isPromoted: false, allowsMismatch: false,
};

const SHOWN_FIELDS = ["template", "labels", "add_special_tokens", "note", "description", "task_index", "pooling", "normalize", "problem_type", "allow_base_mismatch"];

/** Fill what is still empty from a manifest of the folder. @param {PublishForm} form @param {JsonObject} fields @returns {PublishForm} */
export function filled(form, fields) {
  const text = (/** @type {string} */ typed, /** @type {unknown} */ given) => (typed === "" && typeof given === "string" ? given : typed);
  const { labels, add_special_tokens: special, task_index: index, normalize } = fields;
  return {
    ...form,
    description: text(form.description, fields.description),
    template: text(form.template, fields.template),
    labels: text(form.labels, Array.isArray(labels) ? labels.join("\n") : undefined),
    note: text(form.note, fields.note),
    taskIndex: text(form.taskIndex, typeof index === "number" ? String(index) : undefined),
    pooling: text(form.pooling, fields.pooling),
    normalize: form.normalize === "" && typeof normalize === "boolean" ? (normalize ? "yes" : "no") : form.normalize,
    problemType: text(form.problemType, fields.problem_type),
    special: form.special === "default" && typeof special === "boolean" ? (special ? "yes" : "no") : form.special,
    allowsMismatch: form.allowsMismatch || fields.allow_base_mismatch === true,
  };
}

/** The fields of the folder's manifest that have no place in the form. @param {JsonObject | null} fields */
export const otherFields = (fields) => Object.fromEntries(Object.entries(fields ?? {}).filter(([name]) => !SHOWN_FIELDS.includes(name)));

/** What is wrong with the template before anything is sent; null for nothing. @param {string} template */
export function templateFault(template) {
  const count = template.split("{input}").length - 1;
  if (template === "" || count === 1) return null;
  return count === 0 ? "The template must hold {input}, where the input goes." : "The template must hold {input} once only.";
}

/** @param {PublishForm} form @param {Checkpoint} files @returns {FormData} */
export function requestOf(form, files) {
  const body = new FormData();
  const { config, tensors } = files;
  if (config === null || tensors === null) throw new Error("a file is missing");
  body.append("adapter_config", config, CONFIG);
  body.append("adapter_model", tensors, TENSORS);
  body.append("manifest", JSON.stringify(manifestOf(form, files.manifestFields)));
  if (form.description !== "") body.append("description", form.description);
  body.append("promote", String(form.isPromoted));
  return body;
}

/** @param {PublishForm} form @param {JsonObject | null} given */
function manifestOf(form, given) {
  return {
    ...otherFields(given),
    ...(form.template !== "" && { template: form.template }),
    labels: form.labels.split("\n").filter((label) => label !== ""),
    ...(form.special !== "default" && { add_special_tokens: form.special === "yes" }),
    ...(form.taskIndex.trim() !== "" && { task_index: Number(form.taskIndex) }),
    ...(form.pooling !== "" && { pooling: form.pooling }),
    ...(form.normalize !== "" && { normalize: form.normalize === "yes" }),
    ...(form.problemType !== "" && { problem_type: form.problemType }),
    ...(form.allowsMismatch && { allow_base_mismatch: true }),
    note: form.note,
  };
}
