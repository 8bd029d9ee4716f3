/** The engine's lists: tasks, resident soft prompts, the tuning job. */

import { counted, duration, number } from "../../format.js";
import { Badge, Empty, Panel, Stat, Stats, Table } from "../../parts/index.js";
import { html } from "../../preact.js";

/** @typedef {import("./samples.js").EngineState} EngineState */
/** @typedef {EngineState["tasks"][number]} TaskLoad */
/** @typedef {EngineState["soft_prompts"][number]} SoftPrompt */

/** @param {{ state: EngineState }} props */
export const TaskLoads = ({ state }) => html`
  <${Table} label="Tasks in the engine" rows=${state.tasks} rowKey=${(/** @type {TaskLoad} */ row) => row.task}
    empty=${state.other_tasks.tasks === 0 ? html`<${Empty} title="The engine is idle">Requests that run or wait are listed here, by task.<//>` : undefined}
    columns=${[
      { title: "Task", render: (/** @type {TaskLoad} */ row) => html`<code>${row.task}</code>`, sortBy: (/** @type {TaskLoad} */ row) => row.task },
      { title: "Running", isNumber: true, render: (/** @type {TaskLoad} */ row) => number(row.running), sortBy: (/** @type {TaskLoad} */ row) => row.running },
      { title: "Waiting", isNumber: true, render: (/** @type {TaskLoad} */ row) => number(row.waiting), sortBy: (/** @type {TaskLoad} */ row) => row.waiting },
      { title: "Longest wait", isNumber: true, render: (/** @type {TaskLoad} */ row) => wait(row.oldest_wait_s), sortBy: (/** @type {TaskLoad} */ row) => row.oldest_wait_s },
    ]} />
  ${state.other_tasks.tasks > 0 && html`<p class="engine-rest">${counted(state.other_tasks.tasks, "other task")}: ${number(state.other_tasks.running)} running, ${number(state.other_tasks.waiting)} waiting.</p>`}
`;

/** @param {{ state: EngineState }} props */
export const SoftPrompts = ({ state }) => html`
  <${Table} label="Resident soft prompts" rows=${state.soft_prompts} rowKey=${(/** @type {SoftPrompt} */ row) => row.digest}
    empty=${state.other_soft_prompts.soft_prompts === 0 ? html`<${Empty} title="No soft prompt is resident">The first request of a task loads its soft prompt.<//>` : undefined}
    columns=${[
      { title: "Soft prompt", render: reference, sortBy: (/** @type {SoftPrompt} */ row) => row.task },
      { title: "Virtual tokens", isNumber: true, render: (/** @type {SoftPrompt} */ row) => number(row.virtual_tokens), sortBy: (/** @type {SoftPrompt} */ row) => row.virtual_tokens },
      { title: "Blocks", isNumber: true, render: (/** @type {SoftPrompt} */ row) => number(row.blocks), sortBy: (/** @type {SoftPrompt} */ row) => row.blocks },
      { title: "In use by", isNumber: true, render: (/** @type {SoftPrompt} */ row) => counted(row.leases, "sequence"), sortBy: (/** @type {SoftPrompt} */ row) => row.leases },
      { title: "Last used", isNumber: true, render: lastUsed, sortBy: (/** @type {SoftPrompt} */ row) => row.idle_s ?? 0 },
    ]} />
  ${state.other_soft_prompts.soft_prompts > 0 && html`<p class="engine-rest">${counted(state.other_soft_prompts.soft_prompts, "other soft prompt")} in ${counted(state.other_soft_prompts.blocks, "block")}.</p>`}
`;

/** @param {{ tuning: EngineState["tuning"] }} props */
export const Tuning = ({ tuning }) => tuning && html`<${Panel} title="Tuning" note="A job gets a share of the time while requests run.">
  <${Stats}>
    <${Stat} label="Running" value=${number(tuning.running)} hint=${`${number(tuning.validating)} validating`} />
    ${tuning.running > 0 && html`<${Stat} label="Step" value=${number(tuning.step)} hint=${`of ${number(tuning.planned_steps)}`} />`}
  <//>
<//>`;

/** @param {SoftPrompt} row */
const reference = (row) => html`<code title=${row.digest}>${row.references[0] ?? row.task}</code>
  ${row.references.length > 1 && html`<small> and ${counted(row.references.length - 1, "other name")}</small>`}
  ${row.references.length === 0 && html` <${Badge} tone="plain" title="Its version is no longer served">left over<//>`}`;

/** @param {SoftPrompt} row */
const lastUsed = (row) => (row.idle_s === null ? "in use" : `${duration(row.idle_s * 1_000)} ago`);

/** @param {number | null} waited */
const wait = (waited) => (waited === null ? "–" : duration(waited * 1_000));
