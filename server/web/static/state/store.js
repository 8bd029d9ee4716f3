/** Values that several components share. */

import { useEffect, useState } from "../preact.js";

/**
 * A value whose readers are told of every change.
 * @template T
 */
export class Store {
  /** @param {T} value */
  constructor(value) {
    this._value = value;
    /** @type {Set<() => void>} */
    this._listeners = new Set();
  }

  get value() {
    return this._value;
  }

  /** @param {T} value */
  set(value) {
    if (Object.is(value, this._value)) return;
    this._value = value;
    for (const listener of [...this._listeners]) listener();
  }

  /** Returns what ends the subscription. @param {() => void} listener */
  subscribe(listener) {
    this._listeners.add(listener);
    return () => {
      this._listeners.delete(listener);
    };
  }
}

/**
 * The value of a store; a change renders the component again.
 * @template T
 * @param {Store<T>} store
 * @returns {T}
 */
export function useStore(store) {
  const [value, setValue] = useState(() => store.value);
  useEffect(() => {
    const update = () => setValue(() => store.value);
    update(); // what changed between rendering and now
    return store.subscribe(update);
  }, [store]);
  return value;
}
