/** Tasks, versions and aliases in words. */

import { ApiError } from "../../api/errors.js";

/** @typedef {import("../../api/types.js").Alias} Alias */
/** @typedef {import("../../api/types.js").AliasTarget} AliasTarget */

const NAME = /^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/;

/** What is wrong with the name of a task or an alias; null for nothing. @param {string} name */
export const nameFault = (name) =>
  NAME.test(name) ? null : "A name has 1 to 64 of a-z, 0-9, dot, dash and underscore; the first and the last are a letter or a digit.";

/** PEFT's kinds of soft prompts by the names of their papers. @type {Record<string, string>} */
const KINDS = {
  PROMPT_TUNING: "Prompt tuning",
  P_TUNING: "P-tuning",
  MULTITASK_PROMPT_TUNING: "Multitask prompt tuning",
  PREFIX_TUNING: "Prefix tuning",
  CPT: "Context-aware prompt tuning",
  CARTRIDGE: "Cartridge",
};

/** @param {import("../../api/types.js").Version} version */
export const kindOf = (version) =>
  version.peft_type === null ? `Ensemble of versions ${version.members.join(", ")}` : (KINDS[version.peft_type] ?? version.peft_type);

/** What heads answer, by PEFT's task types. @type {Record<string, string>} */
const ANSWERS = {
  SEQ_CLS: "Classes of texts",
  TOKEN_CLS: "Labels of tokens",
  QUESTION_ANS: "Answers in a text",
  FEATURE_EXTRACTION: "Vectors",
};

/** Whether PEFT's task type has a head, by which it answers. @param {unknown} type */
export const hasHead = (type) => typeof type === "string" && type in ANSWERS;

/** What a task type answers. @param {unknown} type Absent of one that generates text. */
export const answerOf = (type) => (typeof type === "string" ? (ANSWERS[type] ?? type) : "Text");

/** Each target's share of the callers, from 0 to 1. @param {AliasTarget[]} targets */
export function sharesOf(targets) {
  const sum = targets.reduce((total, target) => total + target.weight, 0);
  return targets.map(({ version, weight }) => ({ version, share: weight / sum }));
}

/** @param {number} value */
export const share = (value) => `${Number((value * 100).toFixed(1))} %`;

/** Such as `version 1 (90 %) and version 2 (10 %)`. @param {AliasTarget[]} targets */
export function targetWords(targets) {
  if (targets.length === 1) return `version ${targets[0].version}`;
  const parts = sharesOf(targets).map((target) => `version ${target.version} (${share(target.share)})`);
  return `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

/** What an alias does now. @param {Pick<Alias, "targets" | "shadow_of">} alias */
export const placeWords = ({ targets, shadow_of }) =>
  shadow_of ? `${targetWords(targets)}, as the shadow of ${shadow_of}` : targetWords(targets);

/** @type {Record<string, string>} */
const ADVICE = {
  version_in_use: "Move or delete what names the version, then retire it.",
  no_previous_version: "Its earlier versions are retired, or it was never moved. Move it to a version of your choice.",
  shadow_exists: "Delete the other shadow first, or move that one.",
  task_read_only: "Whoever runs the server can change the folder; the server follows it.",
  name_reserved: "Choose another name.",
  body_too_large: "The operator can raise the limit with the option that the server names.",
  checkpoint_too_large: "The operator can raise the limit with the option that the server names.",
  store_unavailable: "Known versions still answer. Changes need the store: try again later.",
};

/** What to do about an error, where there is more to say than the server says. @param {unknown} error @returns {string | undefined} */
export const adviceOf = (error) => (error instanceof ApiError ? ADVICE[error.code] : undefined);
