/** Starts the page. */

import { html, render } from "./preact.js";
import { Shell } from "./shell.js";
import { followCaller } from "./state/caller.js";

const app = document.getElementById("app");
if (app === null) throw new Error("the document has no #app");
followCaller();
render(html`<${Shell} />`, app);
