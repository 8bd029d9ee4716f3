/** What somebody typed: it outlives errors, other views and a reload of the tab. */

import { useCallback } from "../preact.js";
import { keep, recall } from "./storage.js";
import { Store, useStore } from "./store.js";

/** @type {Map<string, Store<any>>} */
const drafts = new Map();

/**
 * Like `useState`, but kept in `sessionStorage` under a name. The value must be JSON. Components with one name share it.
 * @template T
 * @param {string} name Unique in the page: `VIEW.FIELD`, with the task's name where it belongs to one.
 * @param {T} initial
 * @returns {[T, (value: T | ((earlier: T) => T)) => void, () => void]} The value, its setter, and what forgets it.
 */
export function useDraft(name, initial) {
  const draft = draftOf(name, initial);
  const value = useStore(draft);
  const set = useCallback(
    (/** @type {any} */ next) => {
      const chosen = typeof next === "function" ? next(draft.value) : next;
      draft.set(chosen);
      keep("tab", `draft.${name}`, JSON.stringify(chosen));
    },
    [draft, name],
  );
  const forget = useCallback(() => {
    draft.set(initial);
    keep("tab", `draft.${name}`, null);
  }, [draft, name]);
  return [value, set, forget];
}

/** @param {string} name @param {any} initial @returns {Store<any>} */
function draftOf(name, initial) {
  let draft = drafts.get(name);
  if (draft === undefined) {
    draft = new Store(parse(recall("tab", `draft.${name}`)) ?? initial);
    drafts.set(name, draft);
  }
  return draft;
}

/** @param {string | null} text */
function parse(text) {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
