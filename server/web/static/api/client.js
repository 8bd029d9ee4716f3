/**
 * Requests to the API. Each sends the tab's key, asks for one where the server wants it, and throws `ApiError`.
 *
 * Paths are made with `route`, which encodes every value, and are relative to the page, so that a proxy's prefix holds.
 */

import { askForKey, key } from "../state/key.js";
import { ApiError, errorOf, errorOfBody, unreachable } from "./errors.js";

const BASE = new URL("../../", import.meta.url);

/** The URL at which the page's server is, with a slash at its end. */
export const SERVER_URL = BASE.href;

/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */
/**
 * @typedef {object} Options
 * @property {Query} [query] A value that is null or undefined is left out.
 * @property {unknown} [json] The body, as JSON.
 * @property {FormData} [form] The body, as a form with files.
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/**
 * A path with its values encoded: route`/v1/tasks/${task}/versions`.
 * @param {TemplateStringsArray} strings
 * @param {...(string | number)} values
 */
export function route(strings, ...values) {
  return String.raw({ raw: strings }, ...values.map((value) => encodeURIComponent(value)));
}

/** @param {string} path @param {Query} [query] */
export function urlOf(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, String(value));
  }
  return url.href;
}

/**
 * The answer to a request, with a status below 400. Throws `ApiError`, and `AbortError` where the signal says so.
 * @param {string} method @param {string} path @param {Options} [options]
 * @returns {Promise<Response>}
 */
export async function request(method, path, options = {}) {
  for (;;) {
    const used = key.value;
    const response = await send(method, path, options, used);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (response.status !== 401) throw error;
    if (used === key.value && !(await askForKey(used === null ? "missing" : "refused"))) throw error;
  }
}

/**
 * @param {string} method @param {string} path @param {Options} options @param {string | null} secret
 */
async function send(method, path, { query, json, form, headers = {}, signal }, secret) {
  /** @type {Record<string, string>} */
  const sent = { ...headers };
  if (secret !== null) sent.authorization = `Bearer ${secret}`;
  if (json !== undefined) sent["content-type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  try {
    return await fetch(urlOf(path, query), { method, headers: sent, body, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    throw error instanceof TypeError ? unreachable() : error;
  }
}

/**
 * The JSON of an answer; null where it has no body.
 * @template T
 * @param {string} method @param {string} path @param {Options} [options]
 * @returns {Promise<T>}
 */
export async function call(method, path, options) {
  const response = await request(method, path, options);
  return response.status === 204 ? /** @type {any} */ (null) : await read(() => response.json());
}

/**
 * The body. Its type is what the place expects that takes it: annotate the variable, or the function that returns it.
 * @template T
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<T>}
 */
export const get = (path, options) => call("GET", path, options);

/**
 * @template T
 * @param {string} path
 * @param {unknown} json
 * @param {Options} [options]
 * @returns {Promise<T>}
 */
export const post = (path, json, options) => call("POST", path, { json, ...options });

/**
 * @template T
 * @param {string} path
 * @param {unknown} json
 * @param {Options} [options]
 * @returns {Promise<T>}
 */
export const put = (path, json, options) => call("PUT", path, { json, ...options });

/**
 * @template T
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<T>}
 */
export const del = (path, options) => call("DELETE", path, options);

/**
 * A body with the headers of its response, which name the version that answered.
 * @template T
 * @param {string} path @param {unknown} json @param {Options} [options]
 * @returns {Promise<{ headers: Headers, body: T }>}
 */
export async function postForHeaders(path, json, options) {
  const response = await request("POST", path, { json, ...options });
  return { headers: response.headers, body: await read(() => response.json()) };
}

/**
 * A body with its ETag, which a change sends as `if-match`.
 * @template T
 * @param {string} path @param {Options} [options]
 * @returns {Promise<{ body: T, etag: string }>}
 */
export async function getTagged(path, options) {
  const response = await request("GET", path, options);
  return { body: await read(() => response.json()), etag: response.headers.get("etag") ?? "" };
}

/** @param {string} path @param {Options} [options] @returns {Promise<string>} */
export async function getText(path, options) {
  const response = await request("GET", path, options);
  return await read(() => response.text());
}

/**
 * All rows of a list, page by page, up to `max`. `cursor` gives the query of the page after a row.
 * @template T
 * @param {string} path
 * @param {(last: T) => Query} cursor
 * @param {{ query?: Query, signal?: AbortSignal, max?: number }} [options]
 * @returns {Promise<T[]>}
 */
export async function listAll(path, cursor, { query = {}, signal, max = 10_000 } = {}) {
  /** @type {T[]} */
  const rows = [];
  let place = {};
  for (;;) {
    /** @type {import("./types.js").ListPage<T>} */
    const page = await get(path, { query: { limit: 100, ...query, ...place }, signal });
    rows.push(...page.data);
    const last = rows.at(-1);
    if (!page.has_more || last === undefined || rows.length >= max) return rows.slice(0, max);
    place = cursor(last);
  }
}

/**
 * Save a file of the API under a name.
 * @param {string} path @param {string} filename @param {Options} [options]
 */
export async function download(path, filename, options) {
  const response = await request("GET", path, options);
  const url = URL.createObjectURL(await read(() => response.blob()));
  const link = Object.assign(document.createElement("a"), { href: url, download: filename });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * Post files, and report the share that is sent, from 0 to 1.
 * @template T
 * @param {string} path
 * @param {() => FormData} makeForm Called for each attempt.
 * @param {{ onProgress?: (share: number) => void, signal?: AbortSignal }} [options]
 * @returns {Promise<T>}
 */
export async function upload(path, makeForm, options = {}) {
  for (;;) {
    const used = key.value;
    const { status, text, retryAfter } = await sendForm(path, makeForm(), used, options);
    if (status < 400) return JSON.parse(text);
    const error = errorOfBody(text, status, retryAfter);
    if (status !== 401) throw error;
    if (used === key.value && !(await askForKey(used === null ? "missing" : "refused"))) throw error;
  }
}

/**
 * `fetch` does not report what it has sent, so this is the older interface.
 * @param {string} path @param {FormData} form @param {string | null} secret
 * @param {{ onProgress?: (share: number) => void, signal?: AbortSignal }} options
 * @returns {Promise<{ status: number, text: string, retryAfter: number | null }>}
 */
function sendForm(path, form, secret, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", urlOf(path));
    if (secret !== null) sending.setRequestHeader("authorization", `Bearer ${secret}`);
    sending.upload.onprogress = (event) => event.lengthComputable && onProgress?.(event.loaded / event.total);
    sending.onload = () => {
      const retryAfter = Number(sending.getResponseHeader("retry-after")) || null;
      resolve({ status: sending.status, text: sending.responseText, retryAfter });
    };
    sending.onerror = () => reject(unreachable("The connection ended while the file was sent. The server may be gone, or it refuses files of this size."));
    sending.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal?.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(form);
  });
}

/**
 * @template T
 * @param {() => Promise<T>} reading
 * @returns {Promise<T>}
 */
async function read(reading) {
  try {
    return await reading();
  } catch (error) {
    if (error instanceof SyntaxError) throw new ApiError({ status: 0, code: "no_json", message: "The answer is not JSON: a proxy may have sent it." });
    throw error instanceof TypeError ? unreachable("The connection broke before the answer was complete.") : error;
  }
}
