/** Preact, its hooks and its templates: the one file that names the libraries in `vendor/`. */

import htm from "./vendor/htm.mjs";
import { h } from "./vendor/preact.mjs";

export { Component, createContext, Fragment, h, render } from "./vendor/preact.mjs";
export {
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "./vendor/hooks.mjs";

/**
 * A template becomes elements; whatever stands in `${…}` becomes text, an attribute or a property, never markup.
 * @type {(strings: TemplateStringsArray, ...values: any[]) => import("./vendor/preact.mjs").VNode<any>}
 */
export const html = /** @type {any} */ (htm.bind(h));

/** @typedef {import("./vendor/preact.mjs").ComponentChildren} Children */
/** @typedef {import("./vendor/preact.mjs").VNode<any>} Element */
