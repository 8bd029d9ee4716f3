/** The batches, newest first. */

import { Badge, Button, Empty, ErrorNotice, Panel, Spinner, Table, Time } from "../../parts/index.js";
import { html } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { useLiveList } from "../../state/live_list.js";
import { useFilenames } from "./filenames.js";
import { hasEnded, LineBar, linesText, statusText, toneOf } from "./status.js";

/** @typedef {import("../../api/types.js").Batch} Batch */

/** @param {Map<string, string>} names @returns {import("../../parts/table.js").Column<Batch>[]} */
const columns = (names) => [
  { title: "Batch", render: (batch) => html`<a class="batches-name" href=${hrefOf("batches", [batch.id])}><strong>${
    names.get(batch.input_file_id) ?? batch.id}</strong> <span class="hint">${names.has(batch.input_file_id) && batch.id}</span></a>` },
  { title: "State", render: (batch) => html`<${Badge} tone=${toneOf(batch)}>${statusText(batch)}<//>` },
  { title: "Lines", render: (batch) => html`<div class="batches-lines">${
    batch.request_counts.total > 0 && html`<${LineBar} batch=${batch} />`}<span>${linesText(batch)}</span></div>` },
  { title: "Endpoint", render: (batch) => html`<code>${batch.endpoint}</code>` },
  { title: "By", render: (batch) => html`<span class="batches-name">${batch.created_by}</span>` },
  { title: "Created", render: (batch) => html`<${Time} at=${batch.created_at} />` },
];

export function BatchList() {
  const batches = useLiveList("/v1/batches", hasEnded);
  const names = useFilenames((batches.data?.rows ?? []).map((batch) => batch.input_file_id));
  return html`<${Panel} title="All batches" isFlush>
    <${ErrorNotice} error=${batches.error} title="The batches could not be listed" onRetry=${batches.reload} />
    ${batches.data === null
      ? batches.isLoading && html`<div class="batches-inset"><${Spinner} label="Loading the batches" /></div>`
      : html`<${Table}
          label="Batches" columns=${columns(names)} rows=${batches.data.rows} rowKey=${(/** @type {Batch} */ batch) => batch.id}
          empty=${html`<${Empty} title="No batches yet">Choose a file of requests above. The batch that it becomes appears here.<//>`}
        />`}
    ${batches.data?.hasMore && html`<div class="batches-inset"><${Button} isBusy=${batches.isLoading}
      onClick=${batches.showMore}>Show older batches<//></div>`}
  <//>`;
}
