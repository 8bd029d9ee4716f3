/**
 * The lines of a batch's file, as `softprompt batch` takes them: any text, which is the input; a JSON object that is the body of a
 * request, with an optional `custom_id`; or a line of the API. What a line lacks is filled in. What is wrong with it, the server says.
 */

import { readLines, textOfLine } from "../../file_lines.js";

const MAX_LINE_BYTES = 16 << 20;
const NUM_SHOWN = 3;

/** @typedef {import("../../api/types.js").Batch["endpoint"]} Endpoint */
/** @typedef {{ model: string, endpoint: Endpoint }} Defaults `model` of lines that name none; empty: they stay without. */
/** @typedef {{ number: number, text: string }} Line */
/** @typedef {{ signal: AbortSignal, onProgress?: (share: number) => void }} ReadOptions */
/**
 * @typedef {object} Scan
 * @property {number} numLines Lines that are not blank.
 * @property {number} numTexts Those that are no JSON objects.
 * @property {number} numWithoutModel
 * @property {Endpoint | null} endpoint Of the first line that names one.
 * @property {Line[]} first
 */

/** The body of a text. @type {Record<Endpoint, (text: string) => object>} */
const BODIES = {
  "/v1/completions": (text) => ({ prompt: text }),
  "/v1/chat/completions": (text) => ({ messages: [{ role: "user", content: text }] }),
  "/v1/classify": (text) => ({ input: text }),
  "/v1/embeddings": (text) => ({ input: text }),
};

export const ENDPOINTS = /** @type {Endpoint[]} */ (Object.keys(BODIES));

/** Why a line cannot be sent from a browser. */
export class LineProblem extends Error {}

/**
 * Read a file to its end. Throws `LineProblem`, `AbortError`, and what reading throws.
 * @param {Blob} file @param {ReadOptions} options @returns {Promise<Scan>}
 */
export async function scanFile(file, options) {
  /** @type {Scan} */
  const scan = { numLines: 0, numTexts: 0, numWithoutModel: 0, endpoint: null, first: [] };
  await eachLine(file, options, (text, number) => {
    if (text === null || text.trim() === "") return;
    scan.numLines += 1;
    if (scan.first.length < NUM_SHOWN) scan.first.push({ number, text });
    wholeLine({ number, text }, { model: "any", endpoint: "/v1/completions" }); // whether it can be made whole
    const line = read(text);
    if (line === null) return;
    if (line.isText) scan.numTexts += 1;
    scan.endpoint ??= ENDPOINTS.find((endpoint) => endpoint === line.fields.url) ?? null;
    if (lacksModel(line.body)) scan.numWithoutModel += 1;
  });
  return scan;
}

/**
 * The file with every line whole; the file itself where none lacks anything. Line numbers stay. Throws as `scanFile`.
 * @param {File} file @param {Defaults} defaults @param {AbortSignal} signal @returns {Promise<File>}
 */
export async function wholeFile(file, defaults, signal) {
  /** @type {BlobPart[]} */
  const parts = [];
  let isChanged = false;
  await eachLine(file, { signal }, (text, number, bytes) => {
    const whole = text === null ? null : wholeLine({ number, text }, defaults);
    isChanged ||= whole !== text;
    parts.push(whole ?? bytes.slice(), "\n");
  });
  return isChanged ? new File(parts, file.name) : file;
}

/** A line as it is sent. Throws `LineProblem`. @param {Line} line @param {Defaults} defaults @returns {string} */
export function wholeLine({ number, text }, { model, endpoint }) {
  const line = text.trim() === "" ? null : read(text);
  if (line === null) return text;
  const { fields } = line;
  const body = line.isText ? BODIES[endpoint](text.replace(/\r$/, "")) : line.body;
  const needsModel = model !== "" && lacksModel(body);
  if (!needsModel && line.isEnvelope && (fields.custom_id ?? null) !== null && "method" in fields && "url" in fields) return text;
  if (line.isRounded) {
    throw new LineProblem(`Line ${number} has a number of more than 15 digits, which a browser would round. Give the line its custom_id, method, url and body.model in the file.`);
  }
  const { custom_id, ...others } = fields;
  return JSON.stringify({
    custom_id: custom_id ?? `line-${number}`,
    method: "POST",
    url: endpoint,
    ...others,
    body: needsModel ? { model, .../** @type {object} */ (body) } : body,
  });
}

/**
 * The parts of a line; null for one that begins like an object and is none. `fields` stand beside `body`.
 * @param {string} text
 * @returns {{ fields: Record<string, any>, body: unknown, isText: boolean, isEnvelope: boolean, isRounded: boolean } | null}
 */
function read(text) {
  if (!text.trimStart().startsWith("{")) return { fields: {}, body: {}, isText: true, isEnvelope: false, isRounded: false };
  let isRounded = false;
  const check = (/** @type {string} */ _, /** @type {unknown} */ value) => {
    isRounded ||= Number.isInteger(value) && !Number.isSafeInteger(value);
    return value;
  };
  try {
    const line = JSON.parse(text, check);
    const isEnvelope = "body" in line;
    const { custom_id, body, ...rest } = line;
    const fields = isEnvelope ? rest : {};
    if (custom_id !== undefined) fields.custom_id = custom_id;
    return { fields, body: isEnvelope ? body : rest, isText: false, isEnvelope, isRounded };
  } catch {
    return null;
  }
}

/** @param {unknown} body */
const lacksModel = (body) => typeof body === "object" && body !== null && !Array.isArray(body) && !Object.hasOwn(body, "model");

/**
 * Give each line to `take`: its text, null where it is not UTF-8, its number from 1, and its bytes.
 * @param {Blob} file @param {ReadOptions} options
 * @param {(text: string | null, number: number, bytes: Uint8Array) => void} take
 */
async function eachLine(file, { signal, onProgress }, take) {
  const takeBytes = (/** @type {Uint8Array} */ bytes, /** @type {number} */ number) => {
    if (bytes.length > MAX_LINE_BYTES) throw new LineProblem(`Line ${number} has more than ${MAX_LINE_BYTES} bytes.`);
    take(textOfLine(bytes, number), number, bytes);
  };
  const onBytes = (/** @type {number} */ count) => onProgress?.(count / Math.max(1, file.size));
  await readLines(file.stream(), takeBytes, { signal, onBytes, maxLineBytes: MAX_LINE_BYTES });
}
