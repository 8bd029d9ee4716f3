/** Who the caller is, and what they may do: from `GET /v1/keys/self`. */

import { get } from "../api/client.js";
import { key } from "./key.js";
import { Store, useStore } from "./store.js";

/** @typedef {import("../api/types.js").CallerKey} CallerKey */
/** @typedef {{ body: CallerKey | null, error: unknown }} Caller */

/** @type {Store<Caller>} */
const caller = new Store(/** @type {Caller} */ ({ body: null, error: null }));

/** Ask again who the caller is. */
export async function loadCaller() {
  try {
    caller.set({ body: await get("/v1/keys/self"), error: null });
  } catch (error) {
    caller.set({ body: null, error });
  }
}

/** Load the caller now, and after each change of the key. */
export function followCaller() {
  key.subscribe(() => void loadCaller());
  void loadCaller();
}

/** The caller; `body` null while it is loaded, or with `error` where that failed. */
export const useCaller = () => useStore(caller);

/**
 * Whether the caller has a scope. False while that is not known.
 * @param {import("../api/types.js").Scope} scope
 */
export function useMay(scope) {
  return may(useCaller().body, scope);
}

/** @param {CallerKey | null} body @param {import("../api/types.js").Scope} scope */
export function may(body, scope) {
  return body !== null && (body.scopes.includes("admin") || body.scopes.includes(scope));
}

/** Whether the server asks nobody for a key. @param {CallerKey | null} body */
export const isOpen = (body) => body?.name === "anonymous";
