/** Light, dark, or as the system says. */

import { keep, recall } from "./storage.js";
import { Store } from "./store.js";

/** @typedef {"light" | "dark" | "system"} Theme */

const chosen = recall("browser", "theme");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** What was chosen. @type {Store<Theme>} */
export const theme = new Store(/** @type {Theme} */ (chosen === "light" || chosen === "dark" ? chosen : "system"));

/** Whether the page is dark now: what has drawn colours itself draws again. */
export const isDark = new Store(resolve());

systemIsDark.addEventListener("change", () => isDark.set(resolve()));

/** @param {Theme} next */
export function chooseTheme(next) {
  keep("browser", "theme", next === "system" ? null : next);
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  theme.set(next);
  isDark.set(resolve());
}

function resolve() {
  return theme.value === "system" ? systemIsDark.matches : theme.value === "dark";
}
