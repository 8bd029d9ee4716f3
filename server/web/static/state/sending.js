/** Files that are sent to the server, before what uses them is created. */

import { upload } from "../api/client.js";
import { ApiError } from "../api/errors.js";
import { useRef, useState } from "../preact.js";
import { useAction } from "./requests.js";

/** Ids of files that the server has: a second try sends none of them again. @type {WeakMap<File, string>} */
const sent = new WeakMap();

/**
 * An action that sends files. `action` gets `send`, which returns the id of a file, and a signal that `stop` aborts.
 * @template {unknown[]} A
 * @template R
 * @param {"fine-tune" | "batch"} purpose
 * @param {(send: (file: File) => Promise<string>, signal: AbortSignal, ...values: A) => Promise<R>} action
 * @returns {{ run: (...values: A) => Promise<R | undefined>, isRunning: boolean, share: number | null, error: unknown,
 * stop: () => void, clear: () => void }} `share` of the bytes that are sent, from 0 to 1; null while none are.
 */
export function useSending(purpose, action) {
  const [share, setShare] = useState(/** @type {number | null} */ (null));
  const controller = useRef(/** @type {AbortController | null} */ (null));
  const sending = useAction(async (/** @type {A} */ ...values) => {
    const { signal } = (controller.current = new AbortController());
    /** @type {File[]} */
    const used = [];
    const send = async (/** @type {File} */ file) => {
      used.push(file);
      const id = sent.get(file) ?? (await sendFile(file, purpose, { signal, onProgress: setShare }));
      sent.set(file, id);
      setShare(null);
      return id;
    };
    try {
      return await action(send, signal, ...values);
    } catch (error) {
      if (error instanceof ApiError && error.code === "file_not_found") used.forEach((file) => sent.delete(file));
      throw error;
    } finally {
      setShare(null);
    }
  });
  return { ...sending, share, stop: () => controller.current?.abort() };
}

/** @param {File} file @param {string} purpose @param {{ signal: AbortSignal, onProgress: (share: number) => void }} options */
async function sendFile(file, purpose, options) {
  const makeForm = () => {
    const form = new FormData();
    form.set("purpose", purpose);
    form.set("file", file, file.name);
    return form;
  };
  /** @type {import("../api/types.js").TrainingFile} */
  const { id } = await upload("/v1/files", makeForm, options);
  return id;
}
