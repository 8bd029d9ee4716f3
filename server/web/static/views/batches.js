/** Batches: files of requests. `#/batches` makes and lists them, `#/batches/batch-1` is one of them. */

import { Page } from "../parts/index.js";
import { html } from "../preact.js";
import { useFromStart } from "../router.js";
import { BatchPage } from "./batches/batch_page.js";
import { BatchList } from "./batches/list.js";
import { NewBatch } from "./batches/new_batch.js";

/** @param {import("../views.js").ViewProps} props */
export default function BatchesView({ place }) {
  const [batchId] = place.path;
  useFromStart(batchId);
  if (batchId !== undefined) return html`<${BatchPage} key=${batchId} batchId=${batchId} />`;
  return html`<${Page} title="Batches" lead="A batch answers a file of requests, in the time that live requests leave.">
    <${NewBatch} />
    <${BatchList} />
  <//>`;
}
