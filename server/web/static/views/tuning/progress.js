/** The progress of a run, from its events: the curves, the last step, and the speed. */

/** @typedef {import("../../api/types.js").JobEvent} JobEvent */
/** @typedef {{ x: number[], series: import("../../parts/curve.js").Series[] }} Lines */
/**
 * @typedef {object} Progress
 * @property {number} step
 * @property {number | null} numSteps As planned now: a run that still improves may go on behind its first plan.
 * @property {number | null} loss
 * @property {number | null} bestExactMatch
 * @property {number | null} stepsPerSecond Lately; null until that can be said.
 * @property {Lines} losses
 * @property {Lines} scores
 * @property {Lines} gradients
 */

const MAX_TIMED_STEPS = 60;
const MIN_TIMED_S = 2;

/** @param {JobEvent[]} events In the order in which they happened. @returns {Progress} */
export function progressOf(events) {
  /** Steps that were repeated after a server's end count once. @type {Map<number, any>} */
  const steps = new Map();
  /** @type {Map<number, any>} */
  const validations = new Map();
  let numSteps = /** @type {number | null} */ (null);
  for (const event of events) {
    const data = /** @type {any} */ (event.data);
    if (data.type === "step") steps.set(data.step, data);
    if (data.type === "validation") validations.set(data.step, data);
    if (data.type === "step" || data.type === "extension") numSteps = data.num_steps;
  }
  const last = [...steps.values()].at(-1);
  const xs = [...new Set([...steps.keys(), ...validations.keys()])].sort((a, b) => a - b);
  const [stepXs, validationXs] = [steps, validations].map((map) => [...map.keys()].sort((a, b) => a - b));
  const matches = [...validations.values()].map((one) => one.exact_match);
  return {
    step: last?.step ?? 0,
    numSteps,
    loss: last?.loss ?? null,
    bestExactMatch: matches.length > 0 ? Math.max(...matches) : null,
    stepsPerSecond: speedOf(events),
    losses: {
      x: xs,
      series: [{ label: "Training", values: valuesOf(steps, xs, "loss") }, { label: "Validation", values: valuesOf(validations, xs, "loss") }],
    },
    scores: {
      x: validationXs,
      series: [
        { label: "Exact match", values: valuesOf(validations, validationXs, "exact_match"), colour: 4 },
        { label: "Tokens right", values: valuesOf(validations, validationXs, "token_accuracy"), colour: 3 },
      ],
    },
    gradients: { x: stepXs, series: [{ label: "Norm", values: valuesOf(steps, stepXs, "grad_norm"), colour: 6 }] },
  };
}

/** A field at each place; null where there is none. @param {Map<number, any>} map @param {number[]} places @param {string} name */
const valuesOf = (map, places, name) => places.map((place) => map.get(place)?.[name] ?? null);

/** Steps per second since the run began or went on, at most over the last steps. Times are whole seconds. @param {JobEvent[]} events */
function speedOf(events) {
  /** @type {JobEvent[]} */
  const timed = [];
  for (let place = events.length - 1; place >= 0 && timed.length < MAX_TIMED_STEPS; place -= 1) {
    const event = events[place];
    if (event.data.type === "step") timed.push(event);
    else if (event.data.type === undefined && event.type === "message" && timed.length > 0) break; // a pause, or another server
  }
  if (timed.length < 2) return null;
  const seconds = timed[0].created_at - timed[timed.length - 1].created_at;
  return seconds < MIN_TIMED_S ? null : (timed.length - 1) / seconds;
}
