/** Places in the page, as the fragment of its URL: `#/tasks/sentiment?tab=history`. */

import { useEffect, useState } from "./preact.js";

/** @typedef {{ view: string, path: string[], query: URLSearchParams }} Place */

/** @returns {Place} */
export function currentPlace() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view = "", ...rest] = path.split("/").filter(Boolean).map(decode);
  return { view, path: rest, query: new URLSearchParams(query ?? "") };
}

/**
 * The fragment of a place; every part is encoded.
 * @param {string} view @param {string[]} [path] @param {Record<string, string>} [query]
 */
export function hrefOf(view, path = [], query = {}) {
  const text = new URLSearchParams(query).toString();
  return `#/${[view, ...path].map(encodeURIComponent).join("/")}${text && `?${text}`}`;
}

/** @param {string} href Of `hrefOf`. @param {{ isReplaced?: boolean }} [options] `isReplaced`: the back button skips the place before. */
export function go(href, { isReplaced = false } = {}) {
  if (!isReplaced) {
    location.hash = href;
    return;
  }
  history.replaceState(null, "", href);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @returns {Place} */
export function usePlace() {
  const [place, setPlace] = useState(currentPlace);
  useEffect(() => {
    const update = () => setPlace(currentPlace());
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return place;
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
