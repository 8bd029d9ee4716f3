/** Questions for versions and for the base model, and the lines that a job held out. */

import { get, post, request, route } from "../../api/client.js";
import { readLines, textOfLine } from "../../file_lines.js";
import { readLine } from "./line_check.js";

/** @typedef {import("../../api/types.js").Job} Job */
/** @typedef {{ input: string, expected: string | null, messages: object[] | null }} Question `messages` before the answer, in a chat file. */
/** @typedef {{ title: string, model: string, isBase: boolean }} Target */
/** @typedef {{ job: Job, labels: string[], maxTokens: number | null }} Settings */

const NUM_QUESTIONS = 6;
const DEFAULT_MAX_TOKENS = 32;

/**
 * The first lines that were not learnt from: of the validation file, or those that the job's log names.
 * @param {Job} job @param {import("../../api/types.js").JobEvent[]} events @param {AbortSignal} signal
 * @returns {Promise<Question[]>}
 */
export async function loadHeldOut(job, events, signal) {
  const named = /** @type {number[] | undefined} */ (events.find((event) => Array.isArray(event.data.held_out_lines))?.data.held_out_lines);
  if (job.validation_file === null && named === undefined) return [];
  const wanted = job.validation_file === null ? new Set(named?.slice(0, NUM_QUESTIONS)) : null;
  const response = await request("GET", route`/v1/files/${job.validation_file ?? job.training_file}/content`, { signal });
  /** @type {Question[]} */
  const questions = [];
  if (response.body === null) return questions;
  await readLines(response.body, (bytes, number) => {
    if (wanted !== null && !wanted.has(number)) return false;
    const text = textOfLine(bytes, number);
    if (text !== null && text.trim() !== "") questions.push(questionOf(text));
    return questions.length >= (wanted?.size ?? NUM_QUESTIONS);
  }, { signal });
  return questions;
}

/** @param {string} text @returns {Question} */
function questionOf(text) {
  const { form, fields, input, answer } = readLine(text);
  return { input, expected: answer, messages: form === "chat" ? fields.messages.slice(0, -1).map(plain) : null };
}

/** A message as the chat route takes it. @param {any} message */
const plain = ({ role, content }) => ({ role, content: content ?? "" });

/** The new version's labels, and how long its answers may be. @param {Job} job @param {AbortSignal} signal */
export async function loadManifest(job, signal) {
  /** @type {import("../../api/types.js").Version} */
  const { manifest } = await get(route`/v1/tasks/${job.task}/versions/${job.version ?? 0}`, { signal });
  return { labels: manifest.labels, maxTokens: typeof manifest.defaults.max_tokens === "number" ? manifest.defaults.max_tokens : null };
}

/**
 * One answer per question. The base model gets each input in the job's template, and as many tokens as the version.
 * @param {Target} target @param {Question[]} questions @param {Settings} settings @param {AbortSignal} signal
 * @returns {Promise<string[]>}
 */
export async function answerAll(target, questions, settings, signal) {
  const { job, labels } = settings;
  if (hasHead(job)) return await classify(target, questions.map((question) => question.input), null, signal);
  const options = target.isBase ? { temperature: 0, max_tokens: settings.maxTokens ?? DEFAULT_MAX_TOKENS } : {};
  if (questions.some((question) => question.messages !== null) || job.template === null) {
    return await Promise.all(questions.map((question) => chat(target, question, options, signal)));
  }
  const template = target.isBase ? job.template : "{input}";
  const texts = questions.map((question) => template.replace("{input}", () => question.input));
  return labels.length > 0 ? await classify(target, texts, labels, signal) : await complete(target, texts, options, signal);
}

/** Whether a job trains a head, which chooses one of its own labels. The bare base model has none. @param {Job} job */
export const hasHead = (job) => job.hyperparameters.task_type === "SEQ_CLS";

/** @param {Target} target @param {string[]} input @param {string[] | null} labels null: those of the target. @param {AbortSignal} signal */
async function classify(target, input, labels, signal) {
  /** @type {{ data: import("../../api/types.js").Classification[] }} */
  const { data } = await post("/v1/classify", { model: target.model, input, ...(labels !== null && { labels }) }, { signal });
  return data.map((one) => one.label);
}

/** @param {Target} target @param {string[]} prompt @param {object} options @param {AbortSignal} signal */
async function complete(target, prompt, options, signal) {
  /** @type {{ choices: { index: number, text: string }[] }} */
  const { choices } = await post("/v1/completions", { model: target.model, prompt, ...options }, { signal });
  return [...choices].sort((a, b) => a.index - b.index).map((choice) => choice.text);
}

/** @param {Target} target @param {Question} question @param {object} options @param {AbortSignal} signal */
async function chat(target, { input, messages }, options, signal) {
  const body = { model: target.model, messages: messages ?? [{ role: "user", content: input }], ...options };
  /** @type {{ choices: { message: { content: string } }[] }} */
  const { choices } = await post("/v1/chat/completions", body, { signal });
  return choices[0].message.content;
}
