/** The log of a job, and its first example as it was encoded. */

import { number } from "../../format.js";
import { Button, Checkbox, Empty, Panel, Timeline } from "../../parts/index.js";
import { html, useMemo, useState } from "../../preact.js";
import { Examples } from "./tokens.js";

/** @typedef {import("../../api/types.js").JobEvent} JobEvent */

const PAGE = 24;
/** @type {Record<string, "warn" | "bad">} */
const TONES = { warn: "warn", error: "bad" };

/** @param {{ events: JobEvent[] }} props */
export function JobLog({ events }) {
  const [hasSteps, setHasSteps] = useState(false);
  const [max, setMax] = useState(PAGE);
  const wanted = useMemo(() => events.filter((event) => hasSteps || event.data.type !== "step").reverse(), [events, hasSteps]);
  const items = wanted.slice(0, max).map((event) => ({ id: event.id, at: event.created_at, title: event.message, tone: toneOf(event) }));
  return html`<${Panel} title="Log" actions=${html`<${Checkbox} label="Every step" isChecked=${hasSteps} onChange=${setHasSteps} />`}>
    <${Timeline} label="Log of the job, newest first" items=${items} empty=${html`<${Empty} title="Nothing has happened yet" />`} />
    ${wanted.length > max && html`<div><${Button} isSmall
      onClick=${() => setMax(max + 100)}>Show more: ${number(wanted.length - max)} earlier<//></div>`}
  <//>`;
}

/** @param {JobEvent} event */
function toneOf(event) {
  if (event.data.type === "extension") return "accent";
  if (event.data.promoted !== undefined) return "good";
  return TONES[event.level] ?? "plain";
}

/** The tokens that the job logs at its start. @param {{ job: import("../../api/types.js").Job, events: JobEvent[] }} props */
export function SeenExample({ job, events }) {
  const logged = useMemo(() => events.filter((event) => Array.isArray(event.data.tokens)), [events]);
  if (logged.length === 0) return null;
  const examples = logged.map((event) => ({ title: event.message.replace(/, as the model sees it.*$/, ""), tokens: event.data.tokens }));
  return html`<${Panel} title="What the model sees"><${Examples} examples=${examples.slice(0, 4)}
    numVirtual=${job.hyperparameters.num_virtual_tokens} /><//>`;
}
