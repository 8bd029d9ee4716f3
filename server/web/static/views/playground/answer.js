/** One answer: asked for, streamed, measured. */

import { postForHeaders } from "../../api/client.js";
import { isAbort } from "../../api/errors.js";
import { openStream } from "../../api/stream.js";
import { tokensOf } from "./request.js";

/** @typedef {import("../../api/types.js").ClassifyResult["data"][number] | import("../../api/types.js").Schemas["Embedding"]} Item */
/**
 * @typedef {object} Answer
 * @property {string} model As it was asked for.
 * @property {string | null} version The number of the version that answered.
 * @property {"running" | "done" | "stopped" | "failed"} state
 * @property {import("./request.js").Token[]} tokens
 * @property {Item | null} item What is not text: classes, labelled tokens, found answers, a vector.
 * @property {string} text What was read, for the places in it.
 * @property {import("../../api/types.js").Usage | null} usage
 * @property {string | null} finishReason
 * @property {number | null} firstTokenMs
 * @property {number | null} tokensPerSecond Of the tokens after the first.
 * @property {unknown} error
 */

/** @param {string} model @param {string} text @returns {Answer} */
export const newAnswer = (model, text) => ({
  model, text, version: null, state: "running", tokens: [], item: null, usage: null, finishReason: null,
  firstTokenMs: null, tokensPerSecond: null, error: null,
});

/**
 * Ask, and tell of every change. It never throws: a failure is the answer's `error`.
 * @param {Answer} begun From `newAnswer`.
 * @param {import("./request.js").Ask} ask
 * @param {AbortSignal} signal
 * @param {(answer: Answer) => void} tell
 */
export async function fetchAnswer(begun, ask, signal, tell) {
  let answer = begun;
  const change = (/** @type {Partial<Answer>} */ parts) => tell((answer = { ...answer, ...parts }));
  try {
    if (ask.path.endsWith("/completions")) await stream(ask, signal, change);
    else await fetchItem(ask, signal, change);
    change({ state: "done" });
  } catch (error) {
    change(isAbort(error) ? { state: "stopped" } : { state: "failed", error });
  }
}

/** @param {import("./request.js").Ask} ask @param {AbortSignal} signal @param {(parts: Partial<Answer>) => void} change */
async function fetchItem(ask, signal, change) {
  const began = performance.now();
  /** @type {{ headers: Headers, body: { data: Item[], usage: import("../../api/types.js").Usage } }} */
  const { headers, body } = await postForHeaders(ask.path, ask.body, { signal });
  change({ version: headers.get("x-softprompt-version"), item: body.data[0], usage: body.usage, firstTokenMs: performance.now() - began });
}

/** @param {import("./request.js").Ask} ask @param {AbortSignal} signal @param {(parts: Partial<Answer>) => void} change */
async function stream(ask, signal, change) {
  const began = performance.now();
  const { headers, chunks } = await openStream(ask.path, { ...ask.body, stream_options: { include_usage: true } }, { signal });
  change({ version: headers.get("x-softprompt-version") });
  /** @type {import("./request.js").Token[]} */
  let tokens = [];
  /** @type {number | null} */
  let first = null;
  for await (const chunk of chunks) {
    const now = performance.now();
    const arrived = tokensOf(chunk);
    if (arrived.length > 0) first ??= now;
    tokens = [...tokens, ...arrived];
    change({
      tokens,
      firstTokenMs: first === null ? null : first - began,
      tokensPerSecond: first === null || tokens.length < 3 ? null : ((tokens.length - 1) / (now - first)) * 1_000,
      ...(chunk.usage && { usage: chunk.usage }),
      ...(chunk.choices[0]?.finish_reason && { finishReason: chunk.choices[0].finish_reason }),
    });
  }
}
