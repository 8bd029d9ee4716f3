/** What may be asked of whom: the kinds of questions that all chosen tasks answer. */

import { get } from "../../api/client.js";
import { isAbort } from "../../api/errors.js";
import { useRef } from "../../preact.js";
import { useLoad } from "../../state/requests.js";

/** @typedef {import("../../api/types.js").Model} Model */
/** @typedef {"complete" | "chat" | "classify" | "answer" | "embed"} Kind */

/** @type {{ value: Kind, label: string, verb: string }[]} */
export const KINDS = [
  { value: "complete", label: "Complete", verb: "Ask" },
  { value: "chat", label: "Chat", verb: "Ask" },
  { value: "classify", label: "Classify", verb: "Classify" },
  { value: "answer", label: "Answer a question", verb: "Ask" },
  { value: "embed", label: "Embed", verb: "Embed" },
];

/** @type {Record<string, Kind>} */
const OF_ENDPOINTS = { "/v1/completions": "complete", "/v1/chat/completions": "chat", "/v1/classify": "classify", "/v1/embeddings": "embed" };

/** The kinds of a model. One that could not be read may be asked as if it wrote text: the server says why not. @param {Model | null} model @returns {Kind[]} */
export function kindsOf(model) {
  if (model?.task_type === "QUESTION_ANS") return ["answer"];
  const endpoints = model?.endpoints ?? Object.keys(OF_ENDPOINTS).slice(0, 3);
  return endpoints.flatMap((path) => OF_ENDPOINTS[path] ?? []);
}

/** The kinds that every model has. @param {(Model | null)[]} models */
export const commonKinds = (models) => KINDS.filter(({ value }) => models.every((model) => kindsOf(model).includes(value)));

/**
 * The models by their references, null for one that cannot be read. While others are read, `models` are the earlier ones.
 * @param {string[]} references
 * @returns {{ models: (Model | null)[] | null, isLoading: boolean }}
 */
export function useModelsOf(references) {
  const { data } = useLoad((signal) => Promise.all(references.map((reference) => readModel(reference, signal))), [references.join(" ")]);
  const last = useRef(/** @type {(Model | null)[] | null} */ (null));
  last.current = data ?? last.current;
  return { models: last.current, isLoading: data === null };
}

/** @param {string} reference @param {AbortSignal} signal @returns {Promise<Model | null>} */
async function readModel(reference, signal) {
  if (reference === "") return null;
  try {
    return await get(`/v1/models/${encodeURIComponent(reference)}`, { signal });
  } catch (error) {
    if (isAbort(error)) throw error;
    return null;
  }
}
