/** What was just done, told on the place where it shows. */

import { Notice } from "../../parts/index.js";
import { html } from "../../preact.js";
import { usePlace } from "../../router.js";
import { Store, useStore } from "../../state/store.js";

const news = new Store(/** @type {{ words: string, href: string } | null} */ (null));

/** Tell something on this place, or on the one that comes next. @param {string} words @param {string} [href] Of `hrefOf`. */
export const tell = (words, href = location.hash) => news.set({ words, href });

/** Is there from the start, so that a screen reader hears what comes into it. */
export function News() {
  usePlace();
  const told = useStore(news);
  const isHere = told !== null && told.href === location.hash;
  return html`<div aria-live="polite" class="tasks-news">
    ${isHere && html`<${Notice} tone="good" onDismiss=${() => news.set(null)}>${told.words}<//>`}
  </div>`;
}
