/** The examples that were chosen: a file, or a pasted text. They stay while other views are open. */

import { useEffect, useMemo, useState } from "../../preact.js";
import { useScan } from "../../state/files.js";
import { scanFile } from "./scan.js";

const PAUSE_MS = 400;

/** @typedef {{ file: File | null, scan: import("./scan.js").Scan | null, share: number, error: unknown, isBusy: boolean }} Examples */

/** The pasted text as a file, a moment after it was changed. @param {string} text @returns {File | null} */
export function usePasted(text) {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return useMemo(() => (settled.trim() === "" ? null : new File([settled], "pasted.jsonl")), [settled]);
}

/** Reads a file as soon as it is given. @param {File | null} file @returns {Examples} */
export const useExamples = (file) => ({ file, ...useScan(file, scanFile) });
