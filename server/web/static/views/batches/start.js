/** Making a batch: its file is made whole and sent, then the batch is created. */

import { post } from "../../api/client.js";
import { useRef } from "../../preact.js";
import { useSending } from "../../state/sending.js";
import { wholeFile } from "./lines.js";

/** @typedef {import("../../api/types.js").Batch} Batch */
/** @typedef {import("./lines.js").Defaults} Defaults */

export function useStart() {
  /** What was made of which file: a second try sends it no second time. */
  const made = useRef(/** @type {{ of: File, by: string, whole: File } | null} */ (null));
  return useSending("batch", async (send, signal, /** @type {File} */ file, /** @type {Defaults} */ defaults) => {
    const by = JSON.stringify(defaults);
    if (made.current?.of !== file || made.current.by !== by) made.current = { of: file, by, whole: await wholeFile(file, defaults, signal) };
    const input_file_id = await send(made.current.whole);
    return await create({ input_file_id, endpoint: defaults.endpoint, completion_window: "24h" }, signal);
  });
}

/** @param {object} body @param {AbortSignal} signal @returns {Promise<Batch>} */
const create = (body, signal) => post("/v1/batches", body, { signal });
