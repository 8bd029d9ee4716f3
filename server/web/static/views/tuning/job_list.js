/** The tuning jobs, newest first. */

import { listAll } from "../../api/client.js";
import { percent } from "../../format.js";
import { Badge, Button, Empty, ErrorNotice, Panel, Spinner, Table, Time } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { usePoll } from "../../state/requests.js";
import { hasEnded, statusText, toneOf } from "./status.js";

/** @typedef {import("../../api/types.js").Job} Job */

const BUSY_MS = 2_000;
const IDLE_MS = 15_000;
const PAGE = 50;

/** @type {import("../../parts/table.js").Column<Job>[]} */
const COLUMNS = [
  { title: "Job", render: (job) => html`<a class="tuning-name" href=${hrefOf("tuning", [job.id])}><strong>${job.task}</strong> <span
    class="hint">${job.id}</span></a>` },
  { title: "State", render: (job) => html`<${Badge} tone=${toneOf(job)}>${statusText(job)}<//>` },
  { title: "Exact match", isNumber: true, render: (job) => (typeof job.metrics.exact_match === "number" ? percent(job.metrics.exact_match) : "–") },
  { title: "Result", render: (job) => (job.version === null ? "–" : html`<a
    href=${hrefOf("tasks", [job.task])}>version ${job.version}</a>`) },
  { title: "Created", render: (job) => html`<${Time} at=${job.created_at} />` },
];

/** @param {{ canStart: boolean }} props Whether a job can be started here. */
export function JobList({ canStart }) {
  const [max, setMax] = useState(PAGE);
  const [isBusy, setIsBusy] = useState(false);
  const jobs = usePoll(async (signal) => {
    const found = await load(max, signal);
    setIsBusy(found.rows.some((job) => !hasEnded(job)));
    return found;
  }, isBusy ? BUSY_MS : IDLE_MS, [max]);
  return html`<${Panel} title="Jobs" isFlush>
    <${ErrorNotice} error=${jobs.error} title="The jobs could not be listed" onRetry=${jobs.reload} />
    ${jobs.data === null
      ? jobs.isLoading && html`<div class="tuning-inset"><${Spinner} label="Loading the jobs" /></div>`
      : html`<${Table}
          label="Tuning jobs" columns=${COLUMNS} rows=${jobs.data.rows} rowKey=${(/** @type {Job} */ job) => job.id}
          empty=${html`<${Empty} title="No jobs yet">${canStart && "Choose a file of examples above. The job that it starts appears here."}<//>`}
        />`}
    ${jobs.data?.hasMore && html`<div class="tuning-inset"><${Button} isBusy=${jobs.isLoading}
      onClick=${() => setMax(max + 200)}>Show older jobs<//></div>`}
  <//>`;
}

/** @param {number} max @param {AbortSignal} signal @returns {Promise<{ rows: Job[], hasMore: boolean }>} */
async function load(max, signal) {
  const rows = await listAll("/v1/fine_tuning/jobs", (/** @type {Job} */ last) => ({ after: last.id }), { signal, max: max + 1 });
  return { rows: rows.slice(0, max), hasMore: rows.length > max };
}
