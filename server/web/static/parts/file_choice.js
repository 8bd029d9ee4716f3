/** One file for a form: chosen or dropped, then named; and the share of it that is read or sent. */

import { bytes, percent } from "../format.js";
import { html } from "../preact.js";
import { Button } from "./button.js";
import { DropArea } from "./drop_area.js";
import { Notice } from "./notice.js";

/**
 * @param {{
 *   chosen: import("../state/files.js").ChosenFile, label: string, hint: import("../preact.js").Children,
 *   accept?: string, maxBytes?: number, removeLabel?: string, isDisabled?: boolean,
 * }} props
 */
export function FileChoice({ chosen, label, hint, accept, maxBytes = Infinity, removeLabel = "Remove", isDisabled }) {
  const { file, choose, lostName } = chosen;
  if (file === null) {
    const limit = Number.isFinite(maxBytes) ? ` At most ${bytes(maxBytes)}.` : "";
    return html`
      ${lostName && html`<${Notice}>Before the reload you had chosen ${lostName}. A browser does not keep files: choose it again.<//>`}
      <${DropArea} label=${label} hint=${html`Or drop it here. ${hint}${limit}`} accept=${accept} maxBytes=${maxBytes}
        onFiles=${(/** @type {File[]} */ [one]) => choose(one)} />
    `;
  }
  return html`<div class="chosen-file">
    <span><strong>${file.name}</strong> <span class="hint">${bytes(file.size)}</span></span>
    <${Button} isSmall icon="close" isDisabled=${isDisabled} onClick=${() => choose(null)}>${removeLabel}<//>
  </div>`;
}

/** Nothing while `share` is null. @param {{ label: string, verb: string, share: number | null }} props `share` from 0 to 1. */
export const FileProgress = ({ label, verb, share }) =>
  share !== null && html`<div role="status" class="progress"><progress aria-label=${label} value=${share} max="1" /><span>${verb}: ${percent(share, 0)}</span></div>`;
