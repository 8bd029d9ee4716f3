/** The moves of an alias. */

import { get, route } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { Button, ErrorNotice, Panel, Select, Spinner, Timeline } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { useLoad } from "../../state/requests.js";
import { placeWords, targetWords } from "./words.js";

/** @typedef {import("../../api/types.js").AliasMove} AliasMove */

const SHOWN = 10;

/**
 * @param {{ task: string, aliases: string[], stamp: string }} props A new `stamp` says that an alias was moved.
 */
export function History({ task, aliases, stamp }) {
  const [chosen, setChosen] = useState("production");
  const [isWhole, setIsWhole] = useState(false);
  const names = ["production", ...aliases.filter((name) => name !== "production")];
  const alias = names.includes(chosen) ? chosen : "production";
  const { data, error, isLoading, reload } = useLoad(
    (signal) => readHistory(task, alias, signal), [task, alias, stamp],
  );
  const pick = names.length > 1 && html`<${Select}
    label="Alias" isLabelHidden value=${alias} onChange=${setChosen} options=${names.map((value) => ({ value }))}
  />`;
  return html`<${Panel} title="History" note=${`The moves of ${alias}, newest first.`} actions=${pick}>
    <${ErrorNotice} error=${error} title="The history could not be read" onRetry=${reload} />
    ${data === null
      ? isLoading && html`<${Spinner} label="Loading the history" />`
      : html`<${Timeline}
          label=${`History of ${alias}`} items=${data.slice(0, isWhole ? data.length : SHOWN).map(itemOf)}
          empty=${html`<p class="hint">It was never moved.</p>`}
        />`}
    ${data !== null && data.length > SHOWN && !isWhole && html`<div><${Button} isSmall onClick=${() => setIsWhole(true)}>Show all ${data.length} moves<//></div>`}
  <//>`;
}

/** @param {string} task @param {string} alias @param {AbortSignal} signal @returns {Promise<AliasMove[]>} */
async function readHistory(task, alias, signal) {
  try {
    /** @type {{ data: AliasMove[] }} */
    const { data } = await get(route`/v1/tasks/${task}/aliases/${alias}/history`, { signal });
    return data;
  } catch (error) {
    if (error instanceof ApiError && error.code === "alias_not_found") return [];
    throw error;
  }
}

/** @param {AliasMove} move @param {number} index @param {AliasMove[]} moves */
function itemOf(move, index, moves) {
  const { from_targets: from, to_targets: to } = move;
  const title =
    to.length === 0 ? "Deleted"
    : from.length === 0 ? `Created at ${placeWords({ targets: to, shadow_of: move.shadow_of })}`
    : `From ${targetWords(from)} to ${placeWords({ targets: to, shadow_of: move.shadow_of })}`;
  /** @type {"bad" | "accent" | "plain"} */
  const tone = to.length === 0 ? "bad" : index === 0 ? "accent" : "plain";
  return { id: moves.length - index, at: move.moved_at, by: move.moved_by, title, note: move.reason, tone };
}
