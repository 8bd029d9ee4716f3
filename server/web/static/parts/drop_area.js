/** A place for files: dropped on it, or chosen by its button. */

import { bytes } from "../format.js";
import { html, useId, useRef, useState } from "../preact.js";
import { Icon } from "./icon.js";

const MAX_FILES = 100;

/**
 * @param {{
 *   label: string, hint?: import("../preact.js").Children, onFiles: (files: File[]) => void, accept?: string,
 *   isMultiple?: boolean, takesFolder?: boolean, filesLabel?: string, maxBytes?: number, isDisabled?: boolean,
 * }} props Files above `maxBytes` are named and left out. `takesFolder`: a dropped folder gives the files in it, and the
 * button chooses a folder; with `filesLabel` a second one chooses files.
 */
export function DropArea({ label, hint, onFiles, accept, isMultiple, takesFolder, filesLabel, maxBytes = Infinity, isDisabled }) {
  const [isOver, setIsOver] = useState(false);
  const [refusal, setRefusal] = useState("");
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const id = useId();
  const take = (/** @type {File[]} */ files) => {
    const tooLarge = files.filter((file) => file.size > maxBytes);
    setRefusal(tooLarge.map((file) => `${file.name} has ${bytes(file.size)}; at most ${bytes(maxBytes)} are accepted.`).join(" "));
    const taken = files.filter((file) => file.size <= maxBytes);
    if (taken.length > 0) onFiles(isMultiple || takesFolder ? taken : taken.slice(0, 1));
  };
  const drop = async (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setIsOver(false);
    if (isDisabled || event.dataTransfer === null) return;
    const files = await filesOf(event.dataTransfer).catch(() => null);
    if (files === null) setRefusal("What was dropped cannot be read.");
    else if (files.length === 0) setRefusal("Nothing that was dropped is a file.");
    else take(files);
  };
  const over = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setIsOver(!isDisabled);
  };
  const choose = (/** @type {any} */ event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same file can be chosen again
  };
  return html`<div class="field">
    <div class=${`drop ${isOver ? "over" : ""}`} onDragOver=${over} onDragLeave=${() => setIsOver(false)} onDrop=${drop}>
      <${Icon} name="upload" size=${22} />
      <div class="drop-choices">
        <input
          ref=${input} id=${id} class="visually-hidden" type="file" accept=${accept} multiple=${isMultiple || takesFolder}
          webkitdirectory=${takesFolder} disabled=${isDisabled} onChange=${choose} aria-describedby=${`${id}-hint`}
        />
        <label for=${id}>${label}</label>
        ${filesLabel && html`
          <input id=${`${id}-files`} class="visually-hidden" type="file" accept=${accept} multiple disabled=${isDisabled} onChange=${choose} />
          <label for=${`${id}-files`}>${filesLabel}</label>`}
      </div>
      ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    </div>
    ${refusal && html`<p class="field-error" role="alert">${refusal}</p>`}
  </div>`;
}

/** The dropped files, and those in dropped folders. @param {DataTransfer} transfer @returns {Promise<File[]>} */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => (item.kind === "file" ? item.webkitGetAsEntry() : null));
  if (entries.every((entry) => entry === null)) return [...transfer.files];
  const files = await Promise.all(entries.map((entry) => (entry === null ? [] : filesIn(entry))));
  return files.flat().slice(0, MAX_FILES);
}

/** @param {FileSystemEntry} entry @returns {Promise<File[]>} */
async function filesIn(entry) {
  if (entry.isFile) {
    return [await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject))];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  /** @type {FileSystemEntry[]} */
  const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  const files = await Promise.all(entries.slice(0, MAX_FILES).filter((inner) => inner.isFile).map(filesIn));
  return files.flat();
}
