/** The examples that were chosen: a file, or a pasted text. They stay while other views are open. */

import { isAbort } from "../../api/errors.js";
import { useEffect, useMemo, useState } from "../../preact.js";
import { useDraft } from "../../state/drafts.js";
import { Store, useStore } from "../../state/store.js";
import { scanFile } from "./scan.js";

const PAUSE_MS = 400;

/** @typedef {{ scan: import("./scan.js").Scan | null, share: number, error: unknown }} Scanned `share` of the file that is read, from 0 to 1. */
/** @typedef {Scanned & { file: File | null, isBusy: boolean }} Examples */

/** Files outlive a view, but not a reload: a page may not open them again by itself. @type {Record<string, Store<File | null>>} */
const files = { training: new Store(/** @type {File | null} */ (null)), validation: new Store(/** @type {File | null} */ (null)) };

/**
 * A chosen file.
 * @param {"training" | "validation"} use
 * @returns {{ file: File | null, choose: (file: File | null) => void, lostName: string }} `lostName` is the name of a file that
 * was chosen before a reload.
 */
export function useFile(use) {
  const file = useStore(files[use]);
  const [name, setName] = useDraft(`tuning.file.${use}`, "");
  const choose = (/** @type {File | null} */ next) => {
    setName(next?.name ?? "");
    files[use].set(next);
  };
  return { file, choose, lostName: file === null ? name : "" };
}

/** The pasted text as a file, a moment after it was changed. @param {string} text @returns {File | null} */
export function usePasted(text) {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return useMemo(() => (settled.trim() === "" ? null : new File([settled], "pasted.jsonl")), [settled]);
}

/** @type {Scanned} */
const NOTHING = { scan: null, share: 0, error: null };

/** Reads a file as soon as it is given. @param {File | null} file @returns {Examples} */
export function useExamples(file) {
  const [state, setState] = useState({ of: file, ...NOTHING });
  useEffect(() => {
    if (file === null) return undefined;
    const controller = new AbortController();
    setState({ of: file, ...NOTHING });
    const onProgress = (/** @type {number} */ share) => setState({ of: file, ...NOTHING, share });
    scanFile(file, { signal: controller.signal, onProgress }).then(
      (scan) => !controller.signal.aborted && setState({ of: file, scan, share: 1, error: null }),
      (error) => isAbort(error) || setState({ of: file, ...NOTHING, error }),
    );
    return () => controller.abort();
  }, [file]);
  const own = state.of === file ? state : NOTHING;
  return { file, scan: own.scan, share: own.share, error: own.error, isBusy: file !== null && own.scan === null && own.error === null };
}
