/** Places in the page, as the fragment of its URL: `#/tasks/sentiment?tab=history`. */

import { useEffect, useRef, useState } from "./preact.js";

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

/**
 * Another place in a view: its beginning is seen, and a screen reader reads it where what had the focus is gone.
 * @param {string | undefined} part The part of the place that differs.
 */
export function useFromStart(part) {
  const earlier = useRef(part);
  useEffect(() => {
    if (earlier.current !== part) {
      scrollTo(0, 0);
      if (document.activeElement === document.body) document.querySelector("main")?.focus();
    }
    earlier.current = part;
  }, [part]);
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
