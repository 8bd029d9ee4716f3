/** What the status and the counts of a batch mean. */

import { counted, number } from "../../format.js";
import { html } from "../../preact.js";

/** @typedef {import("../../api/types.js").Batch} Batch */

const TEXTS = {
  validating: "checking the file",
  failed: "refused",
  in_progress: "running",
  finalizing: "writing the files",
  completed: "completed",
  expired: "expired",
  cancelling: "ending",
  cancelled: "cancelled",
};
/** @type {Partial<Record<Batch["status"], "good" | "bad" | "warn" | "accent">>} */
const TONES = {
  completed: "good", failed: "bad", expired: "warn", cancelled: "warn", validating: "accent", in_progress: "accent", finalizing: "accent",
};

/** @param {Batch} batch */
export const statusText = (batch) => TEXTS[batch.status];

/** @param {Batch} batch */
export const toneOf = (batch) => TONES[batch.status] ?? "plain";

/** Whether a batch changes no more. @param {Batch} batch */
export const hasEnded = (batch) => ["completed", "failed", "expired", "cancelled"].includes(batch.status);

/** Whether a batch can be cancelled. @param {Batch} batch */
export const canCancel = (batch) => ["validating", "in_progress", "finalizing"].includes(batch.status);

/** Unix time at which a batch ended; null while it has not. @param {Batch} batch */
export const endOf = (batch) => batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at;

/** Lines with a result, an answer or an error. @param {Batch} batch */
export const numDone = ({ request_counts: counts }) => counts.completed + counts.failed;

/** Lines that have neither an answer nor an error. @param {Batch} batch */
export const numLeft = (batch) => batch.request_counts.total - numDone(batch);

/** The lines of a batch: answered, failed, and the rest. @param {{ batch: Batch }} props */
export function LineBar({ batch }) {
  const { total, completed, failed } = batch.request_counts;
  const share = (/** @type {number} */ count) => `${total === 0 ? 0 : (count / total) * 100}%`;
  return html`<div class="batches-bar" role="progressbar" aria-label=${`Lines of ${batch.id}`} aria-valuemin="0" aria-valuemax=${total}
    aria-valuenow=${completed + failed} aria-valuetext=${linesText(batch)}>
    <span class="answered" style=${{ width: share(completed) }}></span><span class="failed" style=${{ width: share(failed) }}></span>
  </div>`;
}

/** @param {Batch} batch */
export function linesText(batch) {
  const { total, failed } = batch.request_counts;
  if (total === 0) return batch.status === "validating" ? "not counted yet" : "none";
  const done = numDone(batch) === total ? counted(total, "line") : `${number(numDone(batch))} of ${counted(total, "line")}`;
  return failed === 0 ? done : `${done}, ${number(failed)} failed`;
}
