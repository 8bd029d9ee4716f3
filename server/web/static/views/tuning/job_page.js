/** One job: how far it is, its curves and its log; at its end, what came of it. */

import { ApiError } from "../../api/errors.js";
import { post, route } from "../../api/client.js";
import { duration, number, percent } from "../../format.js";
import {
  Badge, Button, Columns, ConfirmDialog, Empty, ErrorNotice, Facts, LinkButton, Notice, Page, Panel, Row, sentence, Spinner, Stat, Stats,
} from "../../parts/index.js";
import { Curve } from "../../parts/curve.js";
import { html, useMemo, useState } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { useAction } from "../../state/requests.js";
import { JobLog, SeenExample } from "./job_log.js";
import { useJob } from "./job_events.js";
import { progressOf } from "./progress.js";
import { Result } from "./result.js";
import { adviceFor, hasEnded, isActive, statusText, toneOf } from "./status.js";

/** @typedef {import("../../api/types.js").Job} Job */
/** @typedef {import("../../api/types.js").JobEvent} JobEvent */
/** @typedef {import("./progress.js").Progress} Progress */

const BACK = { href: hrefOf("tuning"), label: "Tuning" };

/** @param {{ jobId: string }} props */
export function JobPage({ jobId }) {
  const loaded = useJob(jobId);
  if (loaded.data === null) {
    if (loaded.error instanceof ApiError && loaded.error.status === 404) {
      return html`<${Page} title="No such job" back=${BACK}><${Empty} title=${`There is no job ${jobId}`} action=${html`<a
        href=${BACK.href}>Go to the jobs</a>`}>It may be of another base model, or its task was purged.<//><//>`;
    }
    return html`<${Page} title=${jobId} back=${BACK}>
      ${loaded.error ? html`<${ErrorNotice} error=${loaded.error} title="The job could not be loaded" onRetry=${loaded.reload}
        />` : html`<${Spinner} label="Loading the job" />`}
    <//>`;
  }
  return html`<${LoadedJob} ...${loaded.data} error=${loaded.error} reload=${loaded.reload} />`;
}

/** @param {{ job: Job, events: JobEvent[], error: unknown, reload: () => void }} props */
function LoadedJob({ job, events, error, reload }) {
  const progress = useMemo(() => progressOf(events), [events]);
  return html`<${Page}
    title=${job.task} back=${BACK}
    lead=${html`<${Badge} tone=${toneOf(job)}>${statusText(job)}<//> <span
      class="hint">${job.id} · file <code>${job.training_file}</code></span>`}
    actions=${html`<${Actions} job=${job} reload=${reload} />`}
  >
    <${ErrorNotice} error=${error} title="The page shows what was known before" advice="It goes on asking." onRetry=${reload} />
    <${State} job=${job} progress=${progress} />
    ${job.status === "succeeded" && html`<${Result} job=${job} events=${events} />`}
    ${progress.losses.x.length > 0 && html`<${Curves} job=${job} progress=${progress} />`}
    <${JobLog} events=${events} />
    <${SeenExample} job=${job} events=${events} />
    <${Panel} title="Settings"><${Settings} job=${job} /><//>
  <//>`;
}

/** @param {{ job: Job, reload: () => void }} props */
function Actions({ job, reload }) {
  const [isAsking, setIsAsking] = useState(false);
  const action = useAction(async (/** @type {string} */ name) => {
    await post(`${route`/v1/fine_tuning/jobs/${job.id}`}/${name}`, undefined).finally(reload);
  });
  const canResume = job.status === "paused" || job.status === "failed";
  return html`
    ${["queued", "running"].includes(job.status) && html`<${Button} icon="pause" isBusy=${action.isRunning}
      onClick=${() => action.run("pause")}>Pause<//>`}
    ${canResume && html`<${Button} icon="playground" kind=${job.status === "paused" ? "primary" : "plain"} isBusy=${action.isRunning}
      onClick=${() => action.run("resume")}>Resume<//>`}
    ${!hasEnded(job) && html`<${Button} icon="stop" onClick=${() => setIsAsking(true)}>Cancel<//>`}
    ${isAsking && html`<${ConfirmDialog}
      title="Cancel this job?" confirmLabel="Cancel the job" isDanger onClose=${() => setIsAsking(false)}
      onConfirm=${() => post(route`/v1/fine_tuning/jobs/${job.id}/cancel`, undefined).finally(reload)}
    ><p>What it has learnt so far is discarded. A paused job keeps it.</p><//>`}
    <${ErrorNotice} error=${action.error} onDismiss=${action.clear} />
  `;
}

/** @param {{ job: Job, progress: Progress }} props */
function State({ job, progress }) {
  if (job.status === "failed" && job.error) {
    return html`
      <${Notice} tone="bad" title="The job failed"><p>${sentence(job.error.message)}</p><p>${adviceFor(job.error.code)}</p><//>
      <${Row}><${LinkButton} href=${BACK.href} icon="plus">New job<//><//>
    `;
  }
  const total = progress.numSteps ?? job.hyperparameters.num_steps;
  const left = total !== null && progress.stepsPerSecond !== null ? (total - progress.step) / progress.stepsPerSecond : null;
  const isRunning = job.status === "running";
  return html`<${Panel}>
    ${!hasEnded(job) && html`<${Progressing} job=${job} step=${progress.step} total=${total} />`}
    <${Stats}>
      <${Stat} label="Step" value=${number(progress.step)} unit=${total === null ? undefined : `of ${number(total)}`} />
      <${Stat} label="Training loss" value=${progress.loss === null ? "–" : progress.loss.toFixed(3)} />
      <${Stat} label="Best exact match" value=${progress.bestExactMatch === null ? "–" : percent(progress.bestExactMatch)} />
      ${hasEnded(job)
        ? html`<${Stat} label="Took" value=${job.finished_at === null ? "–" : duration((job.finished_at - job.created_at) * 1_000)} />`
        : html`
          <${Stat} label="Speed" value=${isRunning && progress.stepsPerSecond !== null ? number(progress.stepsPerSecond) : "–"}
            unit="steps/s" />
          <${Stat} label="Time left" value=${isRunning ? timeLeft(left, job) : "–"} />
        `}
      ${job.trained_tokens !== null && html`<${Stat} label="Trained tokens" value=${number(job.trained_tokens)} />`}
    <//>
  <//>`;
}

/** From the steps lately, or else from the server's estimate. @param {number | null} left In seconds. @param {Job} job */
function timeLeft(left, job) {
  const seconds = left ?? (job.estimated_finish === null ? null : job.estimated_finish - Date.now() / 1_000);
  if (seconds === null) return "–";
  return seconds < 60 ? `${Math.max(1, Math.ceil(seconds))} s` : duration(seconds * 1_000);
}

const WAITING = {
  validating_files: "The server checks the file.",
  queued: "The job waits. One job runs at a time.",
  paused: "The job is paused. What it has learnt is kept; resume it to go on.",
};

/** @param {{ job: Job, step: number, total: number | null }} props */
function Progressing({ job, step, total }) {
  const waiting = WAITING[/** @type {keyof typeof WAITING} */ (job.status)];
  const isAtEnd = isActive(job) && total !== null && step >= total;
  return html`<div class="progress">
    <progress aria-label="Steps" value=${total === null && isActive(job) ? undefined : step} max=${total ?? 1} />
    ${(waiting || isAtEnd) && html`<span role="status">${waiting ?? "The result is scored on the held-out examples."}</span>`}
  </div>`;
}

/** @param {{ job: Job, progress: Progress }} props */
const Curves = ({ job, progress }) => html`<${Columns} min=${320}>
  <${Panel} title="Loss" note=${`Per ${job.hyperparameters.task_type === "SEQ_CLS" ? "label" : "token of an answer"}. Falling is good.`}>
    <${Curve} label="Loss by step" xLabel="Step" min=${0} ...${progress.losses} /><//>
  <${Panel} title="Validation score" note="Of held-out examples, as training measures it."><${Curve} label="Validation score by step"
    xLabel="Step" min=${0} max=${1} format=${(/** @type {number} */ value) => percent(value, 0)} ...${progress.scores} /><//>
  <${Panel} title="Gradient norm" note="Before clipping. Spikes are clipped."><${Curve} label="Gradient norm by step" xLabel="Step"
    min=${0} ...${progress.gradients} /><//>
<//>`;

/** @param {{ job: Job }} props */
function Settings({ job }) {
  const { hyperparameters: chosen, gate } = job;
  const shown = (/** @type {unknown} */ value) => (value === null || value === undefined ? "the server decides" : String(value));
  const code = (/** @type {string | null} */ text) => text && html`<code class="verbatim">${text}</code>`;
  return html`<div class="tuning-settings"><${Facts} facts=${[
    ["Method", chosen.method],
    ["Answers", chosen.task_type === "SEQ_CLS" ? "a label, by a head" : null],
    ["Start values", chosen.initialisation],
    ["Start text", chosen.init_text],
    ["Virtual tokens", chosen.num_virtual_tokens],
    ["Steps", shown(chosen.num_steps)],
    ["Passes", chosen.num_steps === null ? String(chosen.n_epochs) : null],
    ["Examples per step", chosen.batch_size],
    ["Learning rate", chosen.learning_rate === null ? "the method's own" : String(chosen.learning_rate)],
    ["Schedule", `${chosen.schedule}, ${chosen.warmup_steps} steps of warm-up`],
    ["Patience", shown(chosen.patience)],
    ["Seed", job.seed],
    ["Template", code(job.template) ?? "the base model's chat template"],
    ["Training file", code(job.training_file)],
    ["Validation file", code(job.validation_file)],
    ["Moves production", job.promote ? "yes" : "only with the task's first version"],
    ["Condition", gate && conditionOf(gate)],
  ]} /></div>`;
}

/** @param {NonNullable<Job["gate"]>} gate */
function conditionOf({ metric, min_score, not_worse_than_production }) {
  const least = typeof min_score === "number" && `${metric} of at least ${min_score}`;
  return [least, not_worse_than_production && "not worse than production"].filter(Boolean).join(", ");
}
