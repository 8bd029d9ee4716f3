/** The rules of a line of examples, as far as a browser can check them. The server checks every line again. */

/** @typedef {"completion" | "label" | "chat"} Form */
/**
 * @typedef {object} Line
 * @property {Form} form
 * @property {Record<string, any>} fields As they were read; whole numbers as labels are texts.
 * @property {string} input What a table shows of it.
 * @property {string} answer
 * @property {number} numExamples Answers to learn.
 * @property {string[]} columns Keys without effect.
 */

/** What is wrong with a line; the message is a sentence without its subject, the line. */
export class BadLine extends Error {}

/** @type {Record<Form, string[]>} */
export const FORM_KEYS = { completion: ["prompt", "completion"], label: ["text", "label"], chat: ["messages"] };
const KEYS_OF_FORMS = Object.values(FORM_KEYS).flat();
const ROLES = ["system", "developer", "user", "assistant"];
const PLAIN_KEY = /^[A-Za-z0-9_.-]{1,64}$/;
const HALF_PAIR = /[\ud800-\udfff]/u;
const MAX_SHOWN = 8;
/** Keys of a message, and of a part of its content, on which no prompt depends. */
const PART_HINTS = ["annotations", "cache_control", "prompt_cache_breakpoint"];
const MESSAGE_HINTS = ["annotations", "cache_control", "id", "name", "parsed", "provider_specific_fields"];

/** Keys beside those of a form that ask for what is not done, each with its values that ask for nothing. */
/** @type {Record<string, unknown[]>} */
const LINE_KEYS = {
  function_call: ["none", "auto"], functions: [], modalities: [["text"]], parallel_tool_calls: [true],
  response_format: [{ type: "text" }], tool_choice: ["none", "auto"], tools: [], weight: [1],
};
for (const name of [
  "audio", "chosen", "context", "documents", "history", "image", "images", "input", "instruction", "non_preferred_output",
  "output", "preferred_output", "rejected", "system", "system_prompt", "text_pair",
]) LINE_KEYS[name] = [];

/**
 * Read a line that is not blank. Throws `BadLine`.
 * @param {string} text
 * @returns {Line}
 */
export function readLine(text) {
  const fields = objectOf(text);
  const form = formOf(fields);
  const columns = columnsOf(fields, form);
  if (form === "chat") return { form, fields, columns, ...conversation(fields.messages) };
  const [inputKey, answerKey] = FORM_KEYS[form];
  if (form === "label" && Number.isInteger(fields.label)) fields.label = String(fields.label);
  const [input, answer] = [inputKey, answerKey].map((name) => textOf(fields[name], name));
  return { form, fields, columns, input, answer, numExamples: 1 };
}

/** @param {string} text @returns {Record<string, any>} */
function objectOf(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    try {
      value = JSON.parse(withoutNaN(text));
    } catch {
      throw new BadLine("is not JSON");
    }
  }
  if (!isObject(value)) throw new BadLine("is not a JSON object");
  return value;
}

/** Exports of tables write numbers that JSON does not have, and the server reads them. @param {string} text */
const withoutNaN = (text) =>
  text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (part) => (part.startsWith('"') ? part : "null"));

/** The one form whose keys the line has. A key that is null does not speak for its form. @param {Record<string, any>} fields @returns {Form} */
function formOf(fields) {
  const given = KEYS_OF_FORMS.filter((key) => key in fields);
  const filled = given.filter((key) => fields[key] !== null);
  const complete = /** @type {Form[]} */ (Object.keys(FORM_KEYS)).filter((form) => FORM_KEYS[form].every((key) => given.includes(key)));
  const spoken = complete.filter((form) => FORM_KEYS[form].some((key) => filled.includes(key)));
  const forms = spoken.length > 0 ? spoken : complete;
  if (forms.length === 0) throw new BadLine(withoutForm(Object.keys(fields), given));
  if (forms.length > 1 || filled.some((key) => !FORM_KEYS[forms[0]].includes(key))) {
    throw new BadLine(`has keys of more than one form (${given.join(", ")}): leave out all but one form's`);
  }
  return forms[0];
}

/** @param {string[]} names @param {string[]} given */
function withoutForm(names, given) {
  if (given.length === 1 && names.length === 1) {
    const pair = Object.values(FORM_KEYS).find((keys) => keys.includes(given[0])) ?? [];
    return `has a ${given[0]} but no ${pair.find((key) => key !== given[0])}`;
  }
  const has = names.length > 0 ? `the keys ${namesOf(names)}` : "no keys";
  return `has ${has}, but not prompt and completion, nor text and label, nor messages`;
}

/** @param {Record<string, any>} fields @param {Form} form */
function columnsOf(fields, form) {
  const others = Object.keys(fields).filter((name) => !KEYS_OF_FORMS.includes(name));
  for (const name of others) {
    if (name in LINE_KEYS && !asksNothing(fields[name], LINE_KEYS[name])) {
      throw new BadLine(`has '${name}' beside ${FORM_KEYS[form].join(" and ")}, which is not supported: leave it out`);
    }
  }
  return others.filter((name) => !(name in LINE_KEYS));
}

/** @param {unknown} value @param {unknown[]} passive */
function asksNothing(value, passive = []) {
  if (value === null || value === "" || value === false) return true;
  const text = JSON.stringify(value);
  return text === "[]" || text === "{}" || passive.some((one) => JSON.stringify(one) === text);
}

/** @param {unknown} value @param {string} name */
function textOf(value, name) {
  if (typeof value !== "string") throw new BadLine(`has a ${name} that is not a text`);
  if (HALF_PAIR.test(value)) throw new BadLine(`has half of a surrogate pair in its ${name}`);
  if (value.trim() === "") throw new BadLine(`has an empty ${name}`);
  return value;
}

/** @param {unknown} messages @returns {{ input: string, answer: string, numExamples: number }} */
function conversation(messages) {
  if (!Array.isArray(messages) || messages.length < 2) throw new BadLine("has messages that are not a list of two or more");
  if (!messages.every(isObject)) throw new BadLine("has a message that is not a JSON object");
  messages.forEach(checkKeys);
  if (!messages.every((message) => "role" in message && "content" in message)) throw new BadLine("has a message without role or content");
  const turns = messages.map(messageOf);
  const last = turns[turns.length - 1];
  if (last.role !== "assistant") throw new BadLine("has no answer: the last message is to have the role assistant");
  const numExamples = turns.filter((turn) => turn.isLearnt).length;
  if (numExamples === 0) throw new BadLine("has nothing to learn: every answer has the weight 0");
  if (turns[0].isLearnt) throw new BadLine("begins with an answer, before which nothing was said: give it the weight 0");
  const input = turns.slice(0, -1).map((turn) => `${turn.role}: ${turn.content}`).join("\n");
  return { input, answer: last.content, numExamples };
}

/** @param {any} message @returns {{ role: string, content: string, isLearnt: boolean }} */
function messageOf(message) {
  textOf(message.role, "role");
  if (!ROLES.includes(message.role)) throw new BadLine(`has a message of another role than ${ROLES.join(", ")}`);
  const isLearnt = message.role === "assistant" && message.weight !== 0;
  const whole = message.content === null && message.role === "assistant" && !isLearnt ? "" : message.content;
  const content = Array.isArray(whole) ? whole.map(textOfPart).join("") : whole;
  if (typeof content !== "string") throw new BadLine("has a content that is not a text");
  if (content.trim() === "" && (message.role === "user" || isLearnt)) throw new BadLine("has an empty content");
  if (HALF_PAIR.test(content)) throw new BadLine("has half of a surrogate pair in its content");
  return { role: message.role, content, isLearnt };
}

/** @param {any} part @returns {string} */
function textOfPart(part) {
  if (typeof part !== "object" || part === null || part.type !== "text" || !("text" in part)) {
    throw new BadLine("has a content with a part that is not a text");
  }
  for (const [name, value] of Object.entries(part)) {
    if (!["type", "text", ...PART_HINTS].includes(name) && !asksNothing(value)) {
      throw new BadLine(`has a part of a content with ${shownKey(name)}, which is not supported: leave it out`);
    }
  }
  if (typeof part.text !== "string") throw new BadLine("has a content that is not a text");
  return part.text;
}

/** A key beside role and content has no effect: it may only ask for nothing. @param {Record<string, unknown>} message */
function checkKeys(message) {
  for (const [name, value] of Object.entries(message)) {
    if (["role", "content", ...MESSAGE_HINTS].includes(name) || asksNothing(value)) continue;
    if (name !== "weight") throw new BadLine(`has a message with ${shownKey(name)}, which is not supported: leave it out`);
    if (message.role !== "assistant") throw new BadLine("has a weight at a message that is no answer: only the assistant's have one");
    if (value !== 0 && value !== 1) throw new BadLine("has a weight that is neither 0 nor 1");
  }
}

/** @param {unknown} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Names for a message, the first few; one that is not plain is not repeated. @param {string[]} names */
function namesOf(names) {
  const plain = [...new Set(names.map((name) => (PLAIN_KEY.test(name) ? name : "…")))];
  return plain.slice(0, MAX_SHOWN).join(", ") + (plain.length > MAX_SHOWN ? ", …" : "");
}

/** @param {string} name */
const shownKey = (name) => (PLAIN_KEY.test(name) ? `'${name}'` : "another key");
