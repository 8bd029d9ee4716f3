/** What may be asked: the base model, and each task with a version in production. */

import { get } from "../api/client.js";
import { useEffect, useRef } from "../preact.js";
import { key } from "./key.js";
import { useLoad } from "./requests.js";
import { useStore } from "./store.js";

/** @typedef {import("../api/types.js").Model} Model */
/** @typedef {{ base: Model | null, tasks: Model[] }} Models `base` is null for a key that is held to tasks. */

/**
 * The models that the key may use. Another key loads them anew; until then the earlier ones stay, so that a view in which
 * somebody types or reads is not taken away.
 * @returns {import("./requests.js").Loaded<Models>}
 */
export function useModels() {
  const secret = useStore(key);
  const loaded = useLoad(load, []);
  const used = useRef(secret);
  useEffect(() => {
    if (used.current !== secret) loaded.reload();
    used.current = secret;
  }, [secret]);
  return loaded;
}

/** @param {AbortSignal} signal @returns {Promise<Models>} */
async function load(signal) {
  /** @type {{ data: Model[] }} */
  const { data } = await get("/v1/models", { signal });
  return { base: data.find((model) => model.parent === null) ?? null, tasks: data.filter((model) => model.parent !== null) };
}
