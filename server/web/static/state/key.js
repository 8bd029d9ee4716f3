/** The tab's API key: in `sessionStorage`, so that neither other tabs nor the next session have it. */

import { keep, recall } from "./storage.js";
import { Store } from "./store.js";

const NAME = "key";

/** @typedef {"missing" | "refused" | "chosen"} Reason */

/** The key that requests send, or null. @type {Store<string | null>} */
export const key = new Store(recall("tab", NAME));

/** The question that the dialog shows, or null. @type {Store<{ reason: Reason, answer: (given: boolean) => void } | null>} */
export const keyQuestion = new Store(/** @type {any} */ (null));

/** @type {Promise<boolean> | null} */
let asking = null;

/**
 * Ask the person for a key. Requests that fail at once share one question. Returns whether there is a new key.
 * @param {Reason} reason
 * @returns {Promise<boolean>}
 */
export function askForKey(reason) {
  asking ??= new Promise((resolve) => {
    keyQuestion.set({
      reason,
      answer: (given) => {
        asking = null;
        keyQuestion.set(null);
        resolve(given);
      },
    });
  });
  return asking;
}

/** @param {string} secret */
export function enterKey(secret) {
  setKey(secret);
  keyQuestion.value?.answer(true);
}

/** Send no key from now on. */
export function forgetKey() {
  setKey(null);
}

/** @param {string | null} secret */
function setKey(secret) {
  keep("tab", NAME, secret);
  key.set(secret);
}
