/** What the engine does now: rates, batch and queue, KV blocks by who holds them, resident soft prompts. */

import { get } from "../api/client.js";
import { duration } from "../format.js";
import { Badge, Columns, ErrorNotice, Page, Panel, Spinner } from "../parts/index.js";
import { html } from "../preact.js";
import { usePoll } from "../state/requests.js";
import { BlockMap } from "./engine/block_map.js";
import { Figures, hasCache, History } from "./engine/figures.js";
import { Samples } from "./engine/samples.js";
import { SoftPrompts, TaskLoads, Tuning } from "./engine/tables.js";

/** @typedef {import("./engine/samples.js").EngineState} EngineState */

const EVERY_MS = 1_000;

/** Kept while another view is open. */
const samples = new Samples();

/** @param {AbortSignal} signal @returns {Promise<EngineState>} */
async function load(signal) {
  /** @type {EngineState} */
  const state = await get("/v1/engine", { signal });
  samples.add(state, Date.now() / 1_000);
  return state;
}

export default function EngineView() {
  const { data: state, error, reload } = usePoll(load, EVERY_MS, []);
  return html`<${Page} title="Engine" lead=${state && lead(state)} actions=${state && html`<${Health} state=${state} isStale=${Boolean(error)} />`}>
    <${ErrorNotice} error=${error} title="The engine's state could not be read" onRetry=${reload}
      advice=${state ? "What is shown below is the last state that was read. The page tries again every second." : undefined} />
    ${state === null ? !error && html`<${Spinner} label="Reading the engine's state" />` : html`<${Live} state=${state} />`}
  <//>`;
}

/** @param {EngineState} state */
const lead = (state) => html`<code>${state.model.id}</code> on ${state.model.device}, started ${duration(state.time_s * 1_000)} ago`;

/** @param {{ state: EngineState, isStale: boolean }} props */
function Health({ state, isStale }) {
  if (isStale) return html`<${Badge} tone="warn">not reached<//>`;
  return state.alive ? html`<${Badge} tone="good">alive<//>` : html`<${Badge} tone="bad">makes no progress<//>`;
}

/** An encoder has no cache: it computes a request in one step, and keeps nothing. @param {{ state: EngineState }} props */
const Live = ({ state }) => html`
  <${Figures} state=${state} rates=${samples.lastMinute()} />
  <${History} samples=${samples.all} hasCache=${hasCache(state)} />
  <${Columns} min=${420}>
    ${hasCache(state) && html`<${Panel} title="KV blocks" note="Each square is a part of the cache, in the colour of the task that holds it.">
      <${BlockMap} blocks=${state.kv_blocks} />
    <//>`}
    <${Panel} title="Tasks in the engine" isFlush>
      <${TaskLoads} state=${state} />
    <//>
  <//>
  ${hasCache(state) && html`<${Panel} title="Resident soft prompts" note="Their keys and values are in the cache: a request begins behind them." isFlush>
    <${SoftPrompts} state=${state} />
  <//>`}
  <${Tuning} tuning=${state.tuning} />
`;
