/** Snapshots of the engine over time, and the rates between them. */

/** @typedef {import("../../api/types.js").Schemas["EngineState"]} EngineState */
/** @typedef {import("../../api/types.js").Schemas["Histogram"]} Histogram */

/**
 * What happened between two snapshots. Rates are per second; a quantile is null where nothing was measured.
 * @typedef {object} Rates
 * @property {number} generated Tokens of answers.
 * @property {number} prompt Tokens of prompts that were computed.
 * @property {number} requests Requests that finished.
 * @property {number | null} cachedShare Of the prompts' tokens, those found in the prefix cache.
 * @property {number | null} tokensPerStep Computed tokens of a step, on average.
 * @property {(share: number) => number | null} firstToken Quantile of the time to first token, in seconds.
 * @property {(share: number) => number | null} betweenTokens Quantile of the time between tokens, in seconds.
 */

/**
 * `at` is Unix time in seconds. `rates` is null for the first snapshot of a server.
 * @typedef {{ at: number, state: EngineState, rates: Rates | null }} Sample
 */

const MAX_SAMPLES = 600;
const WINDOW_S = 60;

export class Samples {
  /** @type {Sample[]} */
  all = [];

  /** Counters of another start of the server begin again, so its samples do too. @param {EngineState} state @param {number} at */
  add(state, at) {
    const last = this.all.at(-1);
    const earlier = last !== undefined && isSameStart(last.state, state) ? this.all.slice(1 - MAX_SAMPLES) : [];
    const before = earlier.at(-1)?.state;
    this.all = [...earlier, { at, state, rates: before === undefined ? null : ratesBetween(before, state) }];
  }

  /** The rates of the last minute, or of the time since the first snapshot; null with fewer than two. @returns {Rates | null} */
  lastMinute() {
    const last = this.all.at(-1);
    if (last === undefined) return null;
    const first = this.all.find((sample) => last.state.time_s - sample.state.time_s <= WINDOW_S);
    return first === undefined || first === last ? null : ratesBetween(first.state, last.state);
  }
}

/** @param {EngineState} before @param {EngineState} after */
const isSameStart = (before, after) => before.started_at === after.started_at && before.time_s <= after.time_s;

/** @param {EngineState} before @param {EngineState} after @returns {Rates | null} */
function ratesBetween(before, after) {
  const seconds = after.time_s - before.time_s;
  if (seconds <= 0) return null;
  const grown = (/** @type {keyof EngineState["counters"]} */ name) => after.counters[name] - before.counters[name];
  const [computed, cached, generated, steps] = [grown("prompt_tokens_computed"), grown("prompt_tokens_cached"), grown("generated_tokens"), grown("steps")];
  return {
    generated: generated / seconds,
    prompt: computed / seconds,
    requests: grown("requests_finished") / seconds,
    cachedShare: computed + cached === 0 ? null : cached / (computed + cached),
    tokensPerStep: steps === 0 ? null : (computed + generated) / steps,
    firstToken: (share) => quantile(before.latency.time_to_first_token, after.latency.time_to_first_token, share),
    betweenTokens: (share) => quantile(before.latency.inter_token, after.latency.inter_token, share),
  };
}

/**
 * The time that this share of the measurements between two histograms does not exceed, interpolated within its bucket.
 * null: nothing was measured. Beyond the last bound it is that bound.
 * @param {Histogram} before @param {Histogram} after @param {number} share
 */
export function quantile(before, after, share) {
  const count = after.count - before.count;
  if (count <= 0) return null;
  const wanted = share * count;
  let [low, below] = [0, 0];
  for (const [index, bucket] of after.buckets.entries()) {
    const upTo = bucket.count - (before.buckets[index]?.count ?? 0);
    if (upTo >= wanted) return upTo === below ? bucket.le_s : low + ((wanted - below) / (upTo - below)) * (bucket.le_s - low);
    [low, below] = [bucket.le_s, upTo];
  }
  return low;
}
