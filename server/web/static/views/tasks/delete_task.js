/** Deletes a task, after its name was typed. */

import { call, route } from "../../api/client.js";
import { bytes, counted } from "../../format.js";
import { Checkbox, ConfirmDialog, TextField } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { go, hrefOf } from "../../router.js";
import { tell } from "./news.js";

/** @typedef {import("../../api/types.js").Schemas["Purged"]} Purged */

/** @param {{ task: string, onClose: () => void }} props */
export function DeleteTaskDialog({ task, onClose }) {
  const [typed, setTyped] = useState("");
  const [isPurge, setIsPurge] = useState(false);
  const confirm = async () => {
    /** @type {Purged | null} */
    const purged = await call("DELETE", route`/v1/tasks/${task}`, { query: { purge: isPurge || null } });
    tell(purged === null ? `The task ${task} is deleted.` : purgedWords(purged), hrefOf("tasks"));
    go(hrefOf("tasks"));
  };
  return html`<${ConfirmDialog}
    title=${`Delete ${task}`} confirmLabel="Delete the task" isDanger isDisabled=${typed.trim() !== task} onConfirm=${confirm} onClose=${onClose}
  >
    <p>Its versions and aliases go with it, and requests for it get an error. Running requests finish. Its tuning jobs fail.</p>
    <${TextField} label=${`Type ${task} to confirm`} value=${typed} onInput=${setTyped} isMono />
    <${Checkbox} label="Purge: remove everything for good" hint="Also its history, its tuning jobs and their files. Nothing can be restored." isChecked=${isPurge} onChange=${setIsPurge} />
  <//>`;
}

/** @param {Purged} purged */
const purgedWords = (purged) =>
  `The task ${purged.task} is removed for good: ${counted(purged.num_versions, "version")}, ${counted(purged.num_tensors, "tensor")} ` +
  `(${bytes(purged.num_tensor_bytes)}), ${counted(purged.num_alias_moves, "move")} of aliases, ${counted(purged.num_jobs, "job")} and ${counted(purged.num_files, "file")}.`;
