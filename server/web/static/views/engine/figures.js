/** The engine's figures: of the last minute, and as curves over the last ten. */

import { duration, number, percent } from "../../format.js";
import { Columns, Panel, Stat, Stats } from "../../parts/index.js";
import { Curve } from "../../parts/curve.js";
import { html } from "../../preact.js";

/** @typedef {import("./samples.js").EngineState} EngineState */
/** @typedef {import("./samples.js").Rates} Rates */
/** @typedef {import("./samples.js").Sample} Sample */

/** Whether there is a KV cache. Without one, nothing is generated either: the base model is an encoder. @param {EngineState} state */
export const hasCache = (state) => state.kv_blocks.total > 0;

/** @param {{ state: EngineState, rates: Rates | null }} props */
export const Figures = ({ state, rates }) => html`<div class="engine-figures"><${Panel}>
  <${Stats}>
    ${hasCache(state) && html`<${Stat} label="Generated" value=${rate(rates?.generated)} unit="tokens/s" hint="over the last minute" />`}
    <${Stat} label="Prompts" value=${rate(rates?.prompt)} unit="tokens/s" hint=${hasCache(state) ? shareHint(rates?.cachedShare, "from the cache") : "over the last minute"} />
    ${hasCache(state) && html`<${Stat} label="Time to first token" value=${seconds(rates?.firstToken(0.5))} hint=${`95 %: ${seconds(rates?.firstToken(0.95))}`} />
    <${Stat} label="Time between tokens" value=${seconds(rates?.betweenTokens(0.5))} hint=${`95 %: ${seconds(rates?.betweenTokens(0.95))}`} />`}
    <${Stat} label="Running" value=${number(state.running)} hint=${`${number(state.waiting)} waiting`} />
    <${Stat} label="Last batch" value=${number(state.last_step.sequences)} unit=${state.last_step.sequences === 1 ? "sequence" : "sequences"} hint=${`${number(state.last_step.tokens)} tokens`} />
    <${Stat} label="Requests" value=${number(state.counters.requests_finished)} hint=${failures(state.counters)} />
    ${hasCache(state) && html`<${Stat} label="Preemptions" value=${number(state.counters.preemptions)} hint=${`${number(state.counters.prefix_loads)} soft prompts loaded`} />`}
  <//>
<//></div>`;

/** @param {{ samples: Sample[], hasCache: boolean }} props `hasCache` false leaves out what only generated text has. */
export function History({ samples, hasCache: generates }) {
  const x = samples.map((sample) => sample.at);
  const of = (/** @type {(sample: Sample) => number | null | undefined} */ read) => samples.map((sample) => read(sample) ?? null);
  return html`<${Columns} min=${280}>
    <${Panel} title="Throughput" note="Tokens per second">
      <${Curve} label="Tokens per second" x=${x} isTime height=${150} min=${0} max=${1} series=${[
        ...(generates ? [{ label: "Generated", values: of((sample) => sample.rates?.generated), colour: 1 }] : []),
        { label: "Prompts", values: of((sample) => sample.rates?.prompt), colour: 2 },
      ]} />
    <//>
    <${Panel} title="Sequences" note="In the batch and in the queue">
      <${Curve} label="Sequences" x=${x} isTime height=${150} min=${0} max=${1} series=${[
        { label: "Running", values: of((sample) => sample.state.running), colour: 4 },
        { label: "Waiting", values: of((sample) => sample.state.waiting), colour: 5 },
      ]} />
    <//>
    ${generates && html`<${Panel} title="Latency" note="Milliseconds, half of the requests below">
      <${Curve} label="Latency in milliseconds" x=${x} isTime height=${150} min=${0} max=${1} series=${[
        { label: "First token", values: of((sample) => ms(sample.rates?.firstToken(0.5))), colour: 3 },
        { label: "Between tokens", values: of((sample) => ms(sample.rates?.betweenTokens(0.5))), colour: 6 },
      ]} />
    <//>`}
  <//>`;
}

/** @param {number | undefined} value */
const rate = (value) => (value === undefined ? "–" : number(Math.round(value * 10) / 10));

/** @param {number | null | undefined} value */
const seconds = (value) => (value === null || value === undefined ? "–" : duration(value * 1_000));

/** @param {number | null | undefined} value */
const ms = (value) => (value === null || value === undefined ? null : value * 1_000);

/** @param {number | null | undefined} share @param {string} words */
const shareHint = (share, words) => (share === null || share === undefined ? `none ${words}` : `${percent(share, 0)} ${words}`);

/** @param {EngineState["counters"]} counters */
const failures = (counters) => `${number(counters.requests_failed)} failed, ${number(counters.requests_aborted)} aborted`;
