/** What a job would see and decide, from `POST /v1/fine_tuning/preview`. */

import { post } from "../../api/client.js";
import { isAbort } from "../../api/errors.js";
import { useCallback, useEffect, useState } from "../../preact.js";

const PAUSE_MS = 300;

/** @typedef {import("../../api/types.js").JobPreview} JobPreview */

/**
 * The preview for a body; while another is loaded, and after a refusal, the earlier one stays.
 * @param {string | null} body JSON; null asks for nothing. It is sent once it has been the same for a moment.
 * @returns {{ data: JobPreview | null, error: unknown, reload: () => void }}
 */
export function usePreview(body) {
  const [state, setState] = useState({ data: /** @type {JobPreview | null} */ (null), error: /** @type {unknown} */ (null) });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (body === null) return undefined;
    const controller = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const data = await post("/v1/fine_tuning/preview", JSON.parse(body), { signal: controller.signal });
        if (!controller.signal.aborted) setState({ data, error: null });
      } catch (error) {
        if (!isAbort(error) && !controller.signal.aborted) setState((earlier) => ({ ...earlier, error }));
      }
    }, body === "{}" ? 0 : PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [body, attempt]);
  return { ...state, reload: useCallback(() => setAttempt((number) => number + 1), []) };
}
