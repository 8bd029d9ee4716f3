/** A list, newest first, that is read again and again: often while something in it changes. */

import { listAll } from "../api/client.js";
import { useState } from "../preact.js";
import { usePoll } from "./requests.js";

const BUSY_MS = 2_000;
const IDLE_MS = 15_000;
const PAGE = 50;
const MORE = 200;

/**
 * @template {{ id: string }} R
 * @param {string} path
 * @param {(row: R) => boolean} hasEnded Whether a row changes no more.
 * @returns {import("./requests.js").Loaded<{ rows: R[], hasMore: boolean }> & { showMore: () => void }}
 */
export function useLiveList(path, hasEnded) {
  const [max, setMax] = useState(PAGE);
  const [isBusy, setIsBusy] = useState(false);
  const loaded = usePoll(
    async (signal) => {
      const rows = await listAll(path, (/** @type {R} */ last) => ({ after: last.id }), { signal, max: max + 1 });
      const shown = rows.slice(0, max);
      setIsBusy(shown.some((row) => !hasEnded(row)));
      return { rows: shown, hasMore: rows.length > max };
    },
    isBusy ? BUSY_MS : IDLE_MS,
    [path, max],
  );
  return { ...loaded, showMore: () => setMax(max + MORE) };
}
