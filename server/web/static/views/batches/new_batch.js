/** From a file of requests to a batch: choose, look, say who is asked, start. */

import { counted, number } from "../../format.js";
import { Button, Columns, ErrorNotice, FileChoice, FileProgress, Notice, Panel, Row, Select } from "../../parts/index.js";
import { html } from "../../preact.js";
import { go, hrefOf } from "../../router.js";
import { useDraft } from "../../state/drafts.js";
import { useFile, useScan } from "../../state/files.js";
import { useModels } from "../../state/models.js";
import { modelsOf } from "../playground/targets.js";
import { ENDPOINTS, LineProblem, scanFile, wholeLine } from "./lines.js";
import { useStart } from "./start.js";

/** @typedef {import("./lines.js").Scan} Scan */
/** @typedef {import("./lines.js").Defaults} Defaults */

const MAX_SHOWN = 400;
const FORMS = html`A line is any text, the JSON body of a request such as <code>{"prompt": …}</code>, or the API's own form with${" "}
  <code>custom_id</code>, <code>method</code>, <code>url</code> and <code>body</code>.`;

export function NewBatch() {
  const chosen = useFile("batches.input");
  const { scan, share, error, isBusy } = useScan(chosen.file, scanFile);
  return html`<${Panel} title="New batch" note=${chosen.file === null && "Nothing is sent before you start it."}>
    <${FileChoice} chosen=${chosen} label="Choose a file of requests" hint=${FORMS} accept=".jsonl,.json,.ndjson,.txt" />
    <${FileProgress} label="Reading the file" verb="Reading" share=${isBusy ? share : null} />
    ${error !== null && html`<${Notice} tone="bad" title="The file cannot be sent from here">
      ${error instanceof LineProblem ? error.message : "It may have changed or moved since it was chosen. Choose it again."}<//>`}
    ${scan && chosen.file && html`<${BatchForm} file=${chosen.file} scan=${scan} onStarted=${() => chosen.choose(null)} />`}
  <//>`;
}

/** @param {{ file: File, scan: Scan, onStarted: () => void }} props */
function BatchForm({ file, scan, onStarted }) {
  const [model, setModel] = useDraft("batches.model", "");
  const [endpoint, setEndpoint] = useDraft("batches.endpoint", "/v1/completions");
  const models = useModels();
  const starting = useStart();
  /** @type {Defaults} */
  const defaults = { model, endpoint: scan.endpoint ?? /** @type {Defaults["endpoint"]} */ (endpoint) };
  const isModelMissing = model === "" && scan.numWithoutModel > 0;
  const start = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (starting.isRunning) return;
    const batch = await starting.run(file, defaults);
    if (batch === undefined) return;
    onStarted();
    go(hrefOf("batches", [batch.id]));
  };
  const change = (/** @type {(value: string) => void} */ set) => (/** @type {string} */ value) => {
    starting.clear();
    set(value);
  };
  const names = models.data ? modelsOf(models.data).map((one) => one.id) : [];
  const offered = model === "" || names.includes(model) ? names : [model, ...names]; // a draft may name a task that is gone
  return html`<form class="batches-form" onSubmit=${start}>
    <p>${inWords(scan)}</p>
    <${ErrorNotice} error=${models.error} title="The tasks could not be listed" onRetry=${models.reload} />
    <${Columns}>
      <${Select} label="Endpoint" value=${defaults.endpoint} onChange=${change(setEndpoint)} disabled=${scan.endpoint !== null}
        hint=${scan.endpoint !== null && "The lines of the file name it."} options=${ENDPOINTS.map((value) => ({ value }))} />
      <${Select} label="Task" value=${model} onChange=${change(setModel)} hint=${modelHint(scan)}
        options=${[{ value: "", label: "as each line says" }, ...offered.map((value) => ({ value }))]} />
    <//>
    <${FirstLines} scan=${scan} defaults=${defaults} />
    <${ErrorNotice} error=${starting.error instanceof LineProblem ? null : starting.error} title="The batch was not created" />
    <${FileProgress} label="Sending the file" verb="Sending" share=${starting.share} />
    <${Row}>
      <${Button} type="submit" kind="primary" icon="batches" isBusy=${starting.isRunning}
        isDisabled=${isModelMissing && !starting.isRunning}>Start the batch<//>
      ${starting.isRunning && html`<${Button} icon="stop" onClick=${starting.stop}>Stop<//>`}
      ${isModelMissing && html`<span class="hint">Choose a task to start.</span>`}
    <//>
  </form>`;
}

/** @param {Scan} scan */
function inWords({ numLines, numTexts }) {
  const parts = [counted(numLines, "line")];
  if (numTexts > 0) parts.push(numTexts === numLines ? "plain texts" : `${number(numTexts)} of them plain texts`);
  return parts.join(" · ");
}

/** @param {Scan} scan */
function modelHint({ numLines, numWithoutModel }) {
  if (numWithoutModel === 0) return "Each line names its own.";
  if (numWithoutModel === numLines) return "The lines name none.";
  return `For the ${counted(numWithoutModel, "line")} that ${numWithoutModel === 1 ? "names" : "name"} none.`;
}

/** @param {{ scan: Scan, defaults: Defaults }} props */
function FirstLines({ scan, defaults }) {
  if (scan.first.length === 0) return null;
  return html`<section class="batches-first">
    <h3>${scan.first.length === scan.numLines ? "The lines as they are sent" : "The first lines as they are sent"}</h3>
    <ol>${scan.first.map((line) => html`<li key=${line.number} value=${line.number}><code>${shortened(wholeLine(line, defaults))}</code></li>`)}</ol>
  </section>`;
}

/** @param {string} text */
const shortened = (text) => (text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}… (${number(text.length)} characters)`);
