/** What came of a job: its scores, its place in production, and its answers beside those of others. */

import { getTagged, put, route } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { number, percent } from "../../format.js";
import { Badge, Button, ConfirmDialog, ErrorNotice, LinkButton, Notice, Panel, Stat, Stats, TextField } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { useMay } from "../../state/caller.js";
import { useLoad } from "../../state/requests.js";
import { Compare } from "./compare.js";

/** @typedef {import("../../api/types.js").Alias} Alias */
/** @typedef {import("../../api/types.js").Job} Job */
/** @typedef {{ body: Alias, etag: string } | null} Production null: the task has none. */

const SCORES = /** @type {const} */ ([["exact_match", "Exact match"], ["label_accuracy", "Label accuracy"], ["macro_f1", "Macro F1"]]);

/** @param {{ job: Job, events: import("../../api/types.js").JobEvent[] }} props */
export function Result({ job, events }) {
  const mayRead = useMay("tasks:read");
  const production = useLoad((signal) => (mayRead ? loadProduction(job.task, signal) : Promise.resolve(null)), [job.task, mayRead]);
  const isKnown = mayRead && !production.error && (production.data !== null || !production.isLoading);
  const metrics = /** @type {Record<string, any>} */ (job.metrics);
  return html`
    <${Panel} title=${`Version ${job.version} of ${job.task}`} note=${scoredOn(metrics)} actions=${html`<${LinkButton}
      href=${hrefOf("tasks", [job.task])} icon="tasks">Task<//>`}>
      ${typeof metrics.not_evaluated === "string" && html`<${Notice} tone="warn" title="It has no scores">${metrics.not_evaluated}<//>`}
      <${Stats}>
        ${SCORES.filter(([name]) => typeof metrics[name] === "number").map(([name, label]) => html`<${Stat} key=${name} label=${label}
          value=${percent(metrics[name])} />`)}
        ${typeof metrics.perplexity === "number" && html`<${Stat} label="Perplexity" value=${number(metrics.perplexity)} />`}
        ${typeof metrics.best_step === "number" && html`<${Stat} label="Best step" value=${number(metrics.best_step)}
          unit=${`of ${number(metrics.num_steps)}`} />`}
      <//>
      <${ErrorNotice} error=${production.error} title="Production could not be read" onRetry=${production.reload} />
      ${isKnown && html`<${Promotion} job=${job} production=${production.data} reload=${production.reload} />`}
    <//>
    <${Compare} job=${job} events=${events} production=${production.data?.body.version ?? null} />
  `;
}

/** @param {Record<string, any>} metrics */
const scoredOn = (metrics) =>
  typeof metrics.num_examples === "number" && `Scored on ${number(metrics.num_examples)} held-out examples, through the serving path.`;

/** @param {string} task @param {AbortSignal} [signal] @returns {Promise<Production>} */
async function loadProduction(task, signal) {
  try {
    return await getTagged(route`/v1/tasks/${task}/aliases/production`, { signal });
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** @param {{ job: Job, production: Production, reload: () => void }} props */
function Promotion({ job, production, reload }) {
  const mayWrite = useMay("tasks:write");
  const [isAsking, setIsAsking] = useState(false);
  const [movedTo, setMovedTo] = useState(/** @type {number | null} */ (null));
  const targets = production?.body.targets ?? [];
  if (targets.length === 1 && targets[0].version === job.version) {
    return html`<p role="status"><${Badge}
      tone="good">in production<//> ${movedTo === job.version ? "Production was moved. " : ""}Requests for <code>${job.task}</code> get this version.</p>`;
  }
  const now = production === null ? "The task has no version in production." : `Production is ${placeOf(targets)}.`;
  return html`<div class="row">
    <span>${now}</span>
    ${mayWrite
      ? html`<${Button} kind="primary" onClick=${() => setIsAsking(true)}>Move production to version ${job.version}<//>`
      : html`<span class="hint">Moving it needs a key with the scope "tasks:write".</span>`}
    ${isAsking && html`<${PromoteDialog} job=${job} production=${production} reload=${reload} onMoved=${() => setMovedTo(job.version)}
      onClose=${() => setIsAsking(false)} />`}
  </div>`;
}

/** @param {{ version: number, weight: number }[]} targets */
function placeOf(targets) {
  const total = targets.reduce((sum, one) => sum + one.weight, 0);
  const shareOf = (/** @type {number} */ weight) => (targets.length === 1 ? "" : ` for ${percent(weight / total, 0)}`);
  return targets.map(({ version, weight }) => `version ${version}${shareOf(weight)}`).join(" and ");
}

/** @param {{ job: Job, production: Production, reload: () => void, onMoved: () => void, onClose: () => void }} props */
function PromoteDialog({ job, production, reload, onMoved, onClose }) {
  const [reason, setReason] = useState("");
  const move = async () => {
    /** @type {Record<string, string>} */
    const headers = production === null ? { "if-none-match": "*" } : { "if-match": production.etag };
    try {
      await put(route`/v1/tasks/${job.task}/aliases/production`, { version: job.version, reason }, { headers });
      onMoved();
    } finally {
      reload(); // also after a refusal: the dialog then names the present version
    }
  };
  const targets = production?.body.targets ?? [];
  return html`<${ConfirmDialog} title=${`Move production to version ${job.version}?`} confirmLabel="Move production" onConfirm=${move}
    onClose=${onClose}>
    <p>
      ${production === null ? "Nothing is in production now." : `Now it is ${placeOf(targets)}.`}
      ${" "}Requests for ${job.task} get version ${job.version} at once. The move can be rolled back.
    </p>
    <${TextField} label="Reason" value=${reason} onInput=${setReason} placeholder="optional, kept in the history" />
  <//>`;
}
