/** Answers that come as server-sent events. */

import { request } from "./client.js";
import { ApiError, errorOfBody, unreachable } from "./errors.js";

const CUT_OFF = "The connection broke in the middle of the answer. What had arrived is shown.";

/**
 * Post a body with `stream: true`. The chunks come as an asynchronous generator; leave the loop, or abort the signal, to
 * end the request. Throws `ApiError`: at once for a refusal, from the loop for an error within the stream.
 * @template T
 * @param {string} path
 * @param {object} body
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Promise<{ headers: Headers, chunks: AsyncGenerator<T, void, void> }>}
 */
export async function openStream(path, body, { signal } = {}) {
  const response = await request("POST", path, { json: { ...body, stream: true }, signal });
  if (response.body === null) throw unreachable(CUT_OFF);
  return { headers: response.headers, chunks: chunksOf(response.body) };
}

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any, void, void>}
 */
async function* chunksOf(body) {
  for await (const data of eventsOf(body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if ("error" in chunk) throw errorOfBody(data, 200);
    yield chunk;
  }
  throw new ApiError({ status: 0, code: "stream_cut_off", message: CUT_OFF });
}

/**
 * The data of each event. Lines end with a line feed, with or without a carriage return before it.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<string, void, void>}
 */
export async function* eventsOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  /** @type {string[]} */
  let data = [];
  try {
    for (;;) {
      const { value, done } = await readFrom(reader);
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines.map((text) => text.replace(/\r$/, ""))) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined); // the server sees that nobody reads on
  }
}

/** @param {ReadableStreamDefaultReader<Uint8Array>} reader */
async function readFrom(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw error instanceof TypeError ? unreachable(CUT_OFF) : error;
  }
}
