/** Requests in components: reading once, reading again and again, and writing. */

import { isAbort } from "../api/errors.js";
import { useCallback, useEffect, useRef, useState } from "../preact.js";

/**
 * What a component shows of a request. After a failure `data` is still what was read before.
 * @template T
 * @typedef {{ data: T | null, error: unknown, isLoading: boolean, reload: () => void }} Loaded
 */

/**
 * Read at once and when a dependency changes. The signal ends the request with the component.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {unknown[]} dependencies What `load` reads; `data` is dropped when one changes.
 * @returns {Loaded<T>}
 */
export function useLoad(load, dependencies) {
  return usePoll(load, null, dependencies);
}

/**
 * Read at once, and again `everyMs` after each answer, as long as the tab is visible. After an error it tries on.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {number | null} everyMs null reads once.
 * @param {unknown[]} dependencies
 * @returns {Loaded<T>}
 */
export function usePoll(load, everyMs, dependencies) {
  const [state, setState] = useState({ data: /** @type {T | null} */ (null), error: /** @type {unknown} */ (null), isLoading: true });
  const [attempt, setAttempt] = useState(0);
  const current = useRef(load);
  current.current = load;
  const pace = useRef(everyMs);
  pace.current = everyMs;

  useEffect(() => setState({ data: null, error: null, isLoading: true }), dependencies);
  useEffect(() => {
    const controller = new AbortController();
    /** @type {number | undefined} */
    let timer;
    const read = async () => {
      setState((earlier) => ({ ...earlier, isLoading: true }));
      try {
        const data = await current.current(controller.signal);
        if (!controller.signal.aborted) setState({ data, error: null, isLoading: false });
      } catch (error) {
        if (isAbort(error) || controller.signal.aborted) return;
        setState((earlier) => ({ ...earlier, error, isLoading: false }));
      }
      if (pace.current !== null && !controller.signal.aborted) timer = setTimeout(again, pace.current);
    };
    const again = () => {
      if (document.hidden) document.addEventListener("visibilitychange", again, { once: true, signal: controller.signal });
      else void read();
    };
    void read();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [...dependencies, attempt]);
  return { ...state, reload: useCallback(() => setAttempt((number) => number + 1), []) };
}

/**
 * A write on demand. `run` returns the result, or undefined after a failure, which is then in `error`.
 * @template {unknown[]} A
 * @template R
 * @param {(...values: A) => Promise<R>} action
 * @returns {{ run: (...values: A) => Promise<R | undefined>, isRunning: boolean, error: unknown, clear: () => void }}
 */
export function useAction(action) {
  const [state, setState] = useState({ isRunning: false, error: /** @type {unknown} */ (null) });
  const current = useRef(action);
  current.current = action;
  const run = useCallback(async (/** @type {A} */ ...values) => {
    setState({ isRunning: true, error: null });
    try {
      const result = await current.current(...values);
      setState({ isRunning: false, error: null });
      return result;
    } catch (error) {
      setState({ isRunning: false, error: isAbort(error) ? null : error });
      return undefined;
    }
  }, []);
  return { ...state, run, clear: useCallback(() => setState({ isRunning: false, error: null }), []) };
}
