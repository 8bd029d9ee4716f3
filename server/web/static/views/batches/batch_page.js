/** One batch: how far it is, its files, and what was wrong with its input. */

import { ApiError } from "../../api/errors.js";
import { download, get, post, route } from "../../api/client.js";
import { counted, duration, number } from "../../format.js";
import {
  Badge, Button, ConfirmDialog, Empty, ErrorNotice, Facts, Notice, Page, Panel, Row, sentence, Spinner, Stat, Stats, Time,
} from "../../parts/index.js";
import { html, useRef, useState } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { useAction, useLoad, usePoll } from "../../state/requests.js";
import { canCancel, endOf, hasEnded, LineBar, linesText, numDone, numLeft, statusText, toneOf } from "./status.js";

/** @typedef {import("../../api/types.js").Batch} Batch */

const LIVE_MS = 1_000;
const MAX_FAULTS = 10;
const BACK = { href: hrefOf("batches"), label: "Batches" };

/** @param {{ batchId: string }} props */
export function BatchPage({ batchId }) {
  const everyMs = useRef(/** @type {number | null} */ (LIVE_MS));
  const loaded = usePoll(async (signal) => {
    const batch = await load(batchId, signal);
    everyMs.current = hasEnded(batch) ? null : LIVE_MS;
    return batch;
  }, everyMs.current, [batchId]);
  const filename = useFilename(loaded.data);
  if (loaded.data !== null) {
    return html`<${LoadedBatch} batch=${loaded.data} filename=${filename} error=${loaded.error} reload=${loaded.reload} />`;
  }
  if (loaded.error instanceof ApiError && loaded.error.status === 404) {
    return html`<${Page} title="No such batch" back=${BACK}><${Empty} title=${`There is no batch ${batchId}`} action=${html`<a
      href=${BACK.href}>Go to the batches</a>`}>It may be another key's, of another base model, or purged with a task.<//><//>`;
  }
  return html`<${Page} title=${batchId} back=${BACK}>
    ${loaded.error ? html`<${ErrorNotice} error=${loaded.error} title="The batch could not be loaded" onRetry=${loaded.reload}
      />` : html`<${Spinner} label="Loading the batch" />`}
  <//>`;
}

/** @param {string} batchId @param {AbortSignal} signal @returns {Promise<Batch>} */
const load = (batchId, signal) => get(route`/v1/batches/${batchId}`, { signal });

/** The name of the input file; null until it is known, and where the file was deleted. @param {Batch | null} batch */
function useFilename(batch) {
  const id = batch?.input_file_id;
  const { data } = useLoad(async (signal) => {
    if (id === undefined) return null;
    /** @type {import("../../api/types.js").TrainingFile} */
    const file = await get(route`/v1/files/${id}`, { signal });
    return file.filename;
  }, [id]);
  return data;
}

/** @param {{ batch: Batch, filename: string | null, error: unknown, reload: () => void }} props */
function LoadedBatch({ batch, filename, error, reload }) {
  return html`<${Page}
    title=${filename || batch.id} back=${BACK}
    lead=${html`<${Badge} tone=${toneOf(batch)}>${statusText(batch)}<//> <span class="hint">${filename && `${batch.id} · `}<code>${batch.endpoint}</code></span>`}
    actions=${canCancel(batch) && html`<${Cancel} batch=${batch} reload=${reload} />`}
  >
    <${ErrorNotice} error=${error} title="The page shows what was known before" advice="It goes on asking." onRetry=${reload} />
    ${batch.errors !== null && html`<${Faults} batch=${batch} />`}
    ${batch.status !== "failed" && html`<${Lines} batch=${batch} />`}
    ${hasEnded(batch) && batch.status !== "failed" && html`<${Results} batch=${batch} />`}
    <${Panel} title="About"><${About} batch=${batch} filename=${filename} /><//>
  <//>`;
}

/** @param {{ batch: Batch, reload: () => void }} props */
function Cancel({ batch, reload }) {
  const [isAsking, setIsAsking] = useState(false);
  return html`
    <${Button} icon="stop" onClick=${() => setIsAsking(true)}>Cancel<//>
    ${isAsking && html`<${ConfirmDialog}
      title="Cancel this batch?" confirmLabel="Cancel the batch" isDanger onClose=${() => setIsAsking(false)}
      onConfirm=${() => post(route`/v1/batches/${batch.id}/cancel`, undefined).finally(reload)}
    ><p>No further line is asked. The answers until then are in its file. A cancelled batch cannot go on.</p><//>`}
  `;
}

/** What is wrong with the input file, in the server's words. @param {{ batch: Batch }} props */
function Faults({ batch }) {
  const faults = batch.errors?.data ?? [];
  const shown = faults.slice(0, MAX_FAULTS);
  return html`<${Notice} tone="bad" title="The server refused the file: no line was asked">
    <ul class="batches-faults">
      ${shown.map((fault, index) => html`<li
        key=${index}>${fault.line === null ? sentence(fault.message) : `Line ${number(fault.line)}: ${sentence(fault.message)}`}</li>`)}
    </ul>
    ${faults.length > shown.length && html`<p>And ${number(faults.length - shown.length)} more.</p>`}
    <p>Correct the file, then start a new batch.</p>
  <//>`;
}

/** @type {Partial<Record<Batch["status"], string>>} */
const WAITING = {
  validating: "The server checks the file.",
  finalizing: "The server writes the files.",
  cancelling: "Lines that are asked now are still answered.",
};

/** @param {{ batch: Batch }} props */
function Lines({ batch }) {
  const { total, completed, failed } = batch.request_counts;
  const end = endOf(batch);
  const waiting = WAITING[batch.status];
  return html`<${Panel}>
    ${total > 0 && html`<div class="batches-lines wide"><${LineBar} batch=${batch} /><span>${linesText(batch)}</span></div>`}
    ${waiting && html`<p role="status" class="hint">${waiting}</p>`}
    <${Stats}>
      <${Stat} label="Answered" value=${number(completed)} unit=${total > 0 ? `of ${number(total)}` : undefined} />
      <${Stat} label="Failed" value=${number(failed)} />
      ${end === null
        ? html`<${Stat} label="Time left" value=${timeLeft(batch)} /><${Stat} label="Expires" value=${html`<${Time} at=${batch.expires_at} />`} />`
        : html`<${Stat} label="Never asked" value=${number(numLeft(batch))} /><${Stat} label="Took"
          value=${duration((end - batch.created_at) * 1_000)} />`}
    <//>
  <//>`;
}

/** At the mean speed since the batch began. @param {Batch} batch */
function timeLeft(batch) {
  const done = numDone(batch);
  if (batch.status !== "in_progress" || batch.in_progress_at === null || done === 0) return "–";
  const seconds = ((Date.now() / 1_000 - batch.in_progress_at) / done) * numLeft(batch);
  return duration(Math.max(1, Math.ceil(seconds)) * 1_000);
}

/** @param {{ batch: Batch }} props */
function Results({ batch }) {
  const { completed, failed } = batch.request_counts;
  const left = numLeft(batch);
  const why = [failed > 0 && `${counted(failed, "line")} failed`, left > 0 && `${counted(left, "line")} ${left === 1 ? "was" : "were"} never asked`];
  return html`<${Panel} title="Files">
    <${Download} fileId=${batch.output_file_id} name=${`${batch.id}-answers.jsonl`} label="Download the answers"
      note=${completed > 0 ? `${counted(completed, "answer")}, in the order of the input.` : "No line was answered, so there is no file of answers."} />
    ${batch.error_file_id !== null && html`<${Download} fileId=${batch.error_file_id} name=${`${batch.id}-errors.jsonl`}
      label="Download the errors" note=${`${why.filter(Boolean).join(", ")}.`} />`}
  <//>`;
}

/** @param {{ fileId: string | null, name: string, label: string, note: string }} props */
function Download({ fileId, name, label, note }) {
  const saving = useAction(() => download(route`/v1/files/${fileId ?? ""}/content`, name));
  return html`
    <${Row}>
      ${fileId !== null && html`<${Button} icon="download" isBusy=${saving.isRunning} onClick=${() => saving.run()}>${label}<//>`}
      <span class="hint">${note}</span>
    <//>
    <${ErrorNotice} error=${saving.error} title="The file could not be downloaded" onDismiss=${saving.clear} />
  `;
}

/** @param {{ batch: Batch, filename: string | null }} props */
function About({ batch, filename }) {
  const saving = useAction(() => download(route`/v1/files/${batch.input_file_id}/content`, filename || `${batch.id}-requests.jsonl`));
  const input = html`<code>${batch.input_file_id}</code> ${filename !== null && html`<${Button} isSmall icon="download"
    isBusy=${saving.isRunning} onClick=${() => saving.run()}>Download the requests<//>`}`;
  const end = endOf(batch);
  return html`
    <${Facts} facts=${[
      ["Created by", batch.created_by],
      ["Created", html`<${Time} at=${batch.created_at} />`],
      ["Ended", end && html`<${Time} at=${end} />`],
      ["Input file", input],
      ...Object.entries(batch.metadata ?? {}).map(([name, value]) => /** @type {[string, string]} */ ([`Metadata ${name}`, value])),
    ]} />
    <${ErrorNotice} error=${saving.error} title="The file could not be downloaded" onDismiss=${saving.clear} />
  `;
}
