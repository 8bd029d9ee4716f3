/** A job and its log, read again and again until the job has ended. */

import { get, route } from "../../api/client.js";
import { useRef } from "../../preact.js";
import { usePoll } from "../../state/requests.js";
import { isActive } from "./status.js";

/** @typedef {import("../../api/types.js").Job} Job */
/** @typedef {import("../../api/types.js").JobEvent} JobEvent */

const ACTIVE_MS = 1_000;
const IDLE_MS = 10_000;
const PAGE = 100;
const MAX_EVENTS = 20_000;

/**
 * `events` are in the order in which they happened. The first reading loads them all, so a reload of the page shows the whole run.
 * @param {string} jobId
 * @returns {import("../../state/requests.js").Loaded<{ job: Job, events: JobEvent[] }>}
 */
export function useJob(jobId) {
  const events = useRef(/** @type {JobEvent[]} */ ([]));
  const everyMs = useRef(ACTIVE_MS);
  const loaded = usePoll(
    async (signal) => {
      /** @type {Job} */
      const job = await get(route`/v1/fine_tuning/jobs/${jobId}`, { signal }); // first, so that the events are those up to its end
      const added = await eventsSince(jobId, events.current.at(-1)?.id, signal);
      if (added.length > 0) events.current = [...events.current, ...added].slice(-MAX_EVENTS);
      everyMs.current = isActive(job) ? ACTIVE_MS : IDLE_MS;
      return { job, events: events.current };
    },
    everyMs.current,
    [jobId],
  );
  return loaded;
}

/**
 * The events behind a known one. Pages are newest first.
 * @param {string} jobId @param {string | undefined} known @param {AbortSignal} signal
 * @returns {Promise<JobEvent[]>}
 */
async function eventsSince(jobId, known, signal) {
  /** @type {JobEvent[]} */
  const found = [];
  /** @type {string | undefined} */
  let after;
  while (found.length < MAX_EVENTS) {
    /** @type {import("../../api/types.js").ListPage<JobEvent>} */
    const page = await get(route`/v1/fine_tuning/jobs/${jobId}/events`, { query: { limit: PAGE, after }, signal });
    const place = page.data.findIndex((event) => event.id === known);
    found.push(...(place === -1 ? page.data : page.data.slice(0, place)));
    if (place !== -1 || !page.has_more) break;
    after = page.data.at(-1)?.id;
  }
  return found.reverse();
}
