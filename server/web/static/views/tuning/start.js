/** Starting a job: its files are sent first, then it is created. */

import { post, upload } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { useRef, useState } from "../../preact.js";
import { useAction } from "../../state/requests.js";

/** @typedef {import("../../api/types.js").Job} Job */
/** @typedef {import("../../api/types.js").TrainingFile} TrainingFile */

/** Files that the server has: a second try sends none of them again. @type {WeakMap<File, string>} */
const sent = new WeakMap();

/**
 * @returns {{ start: (body: object, training: File, validation: File | null) => Promise<Job | undefined>, isRunning: boolean, share: number | null,
 * error: unknown, stop: () => void, clear: () => void }} `share` of the bytes that are sent, from 0 to 1; null while none are.
 */
export function useStart() {
  const [share, setShare] = useState(/** @type {number | null} */ (null));
  const controller = useRef(/** @type {AbortController | null} */ (null));
  const action = useAction(async (/** @type {object} */ body, /** @type {File} */ training, /** @type {File | null} */ validation) => {
    const { signal } = (controller.current = new AbortController());
    const options = { signal, onProgress: (/** @type {number} */ part) => setShare(part) };
    try {
      const training_file = await send(training, options);
      const validation_file = validation === null ? null : await send(validation, options);
      setShare(null);
      return await create({ ...body, training_file, ...(validation_file && { validation_file }) }, signal);
    } catch (error) {
      if (error instanceof ApiError && error.code === "file_not_found") [training, validation].forEach((file) => file && sent.delete(file));
      throw error;
    } finally {
      setShare(null);
    }
  });
  return { start: action.run, isRunning: action.isRunning, share, error: action.error, clear: action.clear, stop: () => controller.current?.abort() };
}

/** @param {object} body @param {AbortSignal} signal @returns {Promise<Job>} */
const create = (body, signal) => post("/v1/fine_tuning/jobs", body, { signal });

/** @param {File} file @param {{ signal: AbortSignal, onProgress: (share: number) => void }} options */
async function send(file, options) {
  const known = sent.get(file);
  if (known !== undefined) return known;
  const makeForm = () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", file, file.name);
    return form;
  };
  /** @type {TrainingFile} */
  const { id } = await upload("/v1/files", makeForm, options);
  sent.set(file, id);
  return id;
}
