/** Files that were chosen, and what is in them. They outlive a view, but not a reload: a page may not open them again by itself. */

import { isAbort } from "../api/errors.js";
import { useEffect, useState } from "../preact.js";
import { useDraft } from "./drafts.js";
import { Store, useStore } from "./store.js";

/** @typedef {{ file: File | null, choose: (file: File | null) => void, lostName: string }} ChosenFile */

/** @type {Map<string, Store<File | null>>} */
const files = new Map();

/**
 * A chosen file. Components with one name share it.
 * @param {string} name Unique in the page: `VIEW.USE`.
 * @returns {ChosenFile} `lostName` is the name of a file that was chosen before a reload.
 */
export function useFile(name) {
  let store = files.get(name);
  if (store === undefined) files.set(name, (store = new Store(/** @type {File | null} */ (null))));
  const own = store;
  const file = useStore(own);
  const [filename, setFilename] = useDraft(`file.${name}`, "");
  const choose = (/** @type {File | null} */ next) => {
    setFilename(next?.name ?? "");
    own.set(next);
  };
  return { file, choose, lostName: file === null ? filename : "" };
}

const UNREAD = { scan: null, share: 0, error: /** @type {unknown} */ (null) };

/**
 * Read a file as soon as it is given.
 * @template T
 * @param {File | null} file
 * @param {(file: File, options: { signal: AbortSignal, onProgress: (share: number) => void }) => Promise<T>} scanFile
 * @returns {{ scan: T | null, share: number, error: unknown, isBusy: boolean }} `share` of the file that is read, from 0 to 1.
 */
export function useScan(file, scanFile) {
  const [state, setState] = useState(/** @type {{ of: File | null, scan: T | null, share: number, error: unknown }} */ ({ of: file, ...UNREAD }));
  useEffect(() => {
    if (file === null) return undefined;
    const controller = new AbortController();
    setState({ of: file, ...UNREAD });
    const onProgress = (/** @type {number} */ share) => setState({ of: file, ...UNREAD, share });
    scanFile(file, { signal: controller.signal, onProgress }).then(
      (scan) => !controller.signal.aborted && setState({ of: file, scan, share: 1, error: null }),
      (error) => isAbort(error) || setState({ of: file, ...UNREAD, error }),
    );
    return () => controller.abort();
  }, [file]);
  const { scan, share, error } = state.of === file ? state : UNREAD;
  return { scan, share, error, isBusy: file !== null && scan === null && error === null };
}
