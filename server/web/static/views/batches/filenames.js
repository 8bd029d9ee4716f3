/** Names of the files of batches, by their ids: a batch itself has only the id. */

import { listAll } from "../../api/client.js";
import { useRef } from "../../preact.js";
import { useLoad } from "../../state/requests.js";

/** @typedef {import("../../api/types.js").TrainingFile} UploadedFile */

const MAX_FILES = 500;

/**
 * The names of files that the key may see. They are read again when an id appears that was not there before.
 * @param {string[]} ids
 * @returns {Map<string, string>}
 */
export function useFilenames(ids) {
  const known = useRef(/** @type {Map<string, string>} */ (new Map()));
  const newest = ids[0] ?? "";
  const { data } = useLoad(
    async (signal) => {
      if (ids.length === 0) return known.current;
      const query = { purpose: "batch" };
      const files = await listAll("/v1/files", (/** @type {UploadedFile} */ last) => ({ after: last.id }), { query, signal, max: MAX_FILES });
      return (known.current = new Map(files.map((file) => [file.id, file.filename])));
    },
    [newest, ids.length],
  );
  return data ?? known.current;
}
