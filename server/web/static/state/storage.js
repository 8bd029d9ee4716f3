/** The browser's storage, which may be full or forbidden: what cannot be kept lives as long as the page. */

/** @typedef {"tab" | "browser"} Place `tab`: until the tab closes. `browser`: for all tabs, until it is removed. */

const storageOf = (/** @type {Place} */ place) => (place === "tab" ? sessionStorage : localStorage);

/** @param {Place} place @param {string} name @returns {string | null} */
export function recall(place, name) {
  try {
    return storageOf(place).getItem(`softprompt.${name}`);
  } catch {
    return null;
  }
}

/** @param {Place} place @param {string} name @param {string | null} text null removes it. */
export function keep(place, name, text) {
  try {
    if (text === null) storageOf(place).removeItem(`softprompt.${name}`);
    else storageOf(place).setItem(`softprompt.${name}`, text);
  } catch {
    // the page goes on without: a reload then asks again
  }
}
