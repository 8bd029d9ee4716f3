/** The place for a checkpoint's folder, and which of its files are there. */

import { bytes, counted } from "../../format.js";
import { DropArea, fieldError, Icon } from "../../parts/index.js";
import { html } from "../../preact.js";
import { CONFIG, MANIFEST, TENSORS } from "./checkpoint.js";
import { otherFields } from "./publish_form.js";
import { hasHead } from "./words.js";

/** @typedef {import("./checkpoint.js").Checkpoint} Checkpoint */

const SHOWN_OTHERS = 5;

/**
 * @param {{ files: Checkpoint, onFiles: (files: File[]) => void, hasTried: boolean, error: unknown, isDisabled: boolean }} props
 */
export function CheckpointFiles({ files, onFiles, hasTried, error, isDisabled }) {
  const { config, tensors, manifest, others, faults } = files;
  const isBegun = hasTried || config !== null || tensors !== null || manifest !== null || others.length > 0;
  const also = Object.keys(otherFields(files.manifestFields));
  return html`
    <${DropArea}
      label="Choose a folder" filesLabel="Choose its files" takesFolder onFiles=${onFiles} isDisabled=${isDisabled}
      hint=${html`Or drop the folder here. It holds <code>${CONFIG}</code> and <code>${TENSORS}</code>.`}
    />
    ${isBegun && html`<ul class="tasks-files" aria-live="polite">
      <${FileLine} name=${CONFIG} file=${config} fault=${fieldError(error, "adapter_config")} note=${configWords(files.configFields)} />
      <${FileLine} name=${TENSORS} file=${tensors} fault=${fieldError(error, "adapter_model")} />
      ${manifest && html`<${FileLine} name=${MANIFEST} file=${manifest} note=${`It fills the empty fields below.${also.length > 0 ? ` Also sent from it: ${also.join(", ")}.` : ""}`} />`}
    </ul>`}
    ${faults.map((fault) => html`<p class="field-error" role="alert">${fault}</p>`)}
    ${others.length > 0 && html`<p class="hint">
      ${counted(others.length, "other file")} ${others.length === 1 ? "is" : "are"} not sent: ${others.slice(0, SHOWN_OTHERS).join(", ")}${others.length > SHOWN_OTHERS ? " and more" : ""}.
    </p>`}
  `;
}

/** @param {{ name: string, file: File | null, fault?: string | null, note?: string }} props */
const FileLine = ({ name, file, fault, note }) => html`<li class=${file === null || fault ? "bad" : "good"}>
  <${Icon} name=${file === null || fault ? "bad" : "good"} />
  <div>
    <code>${name}</code> <span class="hint">${file === null ? "is missing" : bytes(file.size)}</span>
    ${note && file !== null && html`<p class="hint">${note}</p>`}
    ${fault && html`<p class="field-error" role="alert">${fault}</p>`}
  </div>
</li>`;

/** @param {import("./checkpoint.js").JsonObject | null} fields */
function configWords(fields) {
  if (fields === null) return "";
  const { peft_type: kind, task_type: type, num_virtual_tokens: count, base_model_name_or_path: base } = fields;
  const words = [
    typeof kind === "string" && kind,
    hasHead(type) && type,
    typeof count === "number" && counted(count, "virtual token"),
    typeof base === "string" && `for ${base}`,
  ];
  return words.filter(Boolean).join(", ");
}
