/** Who answers: the aliases of a task, with their shares, and what moves them. */

import { del, get, post, route } from "../../api/client.js";
import { Badge, Bars, Button, Columns, ConfirmDialog, Empty, ErrorNotice, Panel, Stat, Stats, TextField, Time } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { useDraft } from "../../state/drafts.js";
import { usePoll } from "../../state/requests.js";
import { tell } from "./news.js";
import { adviceOf, placeWords, share, sharesOf } from "./words.js";

/** @typedef {import("../../api/types.js").Alias} Alias */

const AGREEMENT_EVERY_MS = 3_000;

/**
 * @param {{
 *   task: string, aliases: Alias[], canChange: boolean, hasVersions: boolean, onMove: (alias: string | null) => void,
 *   onChanged: () => void,
 * }} props `onMove` with null makes a new alias.
 */
export function Aliases({ task, aliases, canChange, hasVersions, onMove, onChanged }) {
  const add = canChange && hasVersions && html`<${Button} isSmall icon="plus" onClick=${() => onMove(null)}>New alias<//>`;
  const ordered = [...aliases].sort((a, b) => Number(b.alias === "production") - Number(a.alias === "production"));
  return html`<${Panel} title="Who answers" note=${html`A request for <code>${task}</code> goes to <code>production</code>; <code>${task}@NAME</code> goes to another alias.`} actions=${add}>
    ${ordered.length === 0
      ? html`<${Empty} title="No version answers">${hasVersions ? "Make an alias named production." : "The first version that is published goes into production."}<//>`
      : html`<${Columns} min=${300}>
          ${ordered.map((alias) => html`<${AliasCard} key=${alias.alias} ...${{ task, alias, canChange, onMove, onChanged }} />`)}
        <//>`}
  <//>`;
}

/** @param {{ task: string, alias: Alias, canChange: boolean, onMove: (alias: string) => void, onChanged: () => void }} props */
function AliasCard({ task, alias, canChange, onMove, onChanged }) {
  const [asked, setAsked] = useState(/** @type {"" | "rollback" | "delete"} */ (""));
  const close = () => setAsked("");
  const name = alias.alias;
  return html`<section class="tasks-alias" aria-label=${`Alias ${name}`}>
    <div class="row"><h3>${name}</h3>${alias.shadow_of && html`<${Badge}>shadow of ${alias.shadow_of}<//>`}</div>
    <${Bars}
      label=${`Versions of ${name}`} format=${share}
      bars=${sharesOf(alias.targets).map((target) => ({ name: `version ${target.version}`, value: target.share }))}
      highlighted=${`version ${alias.version}`}
    />
    ${alias.shadow_of && html`<${AgreementFigures} task=${task} alias=${name} />`}
    <p class="hint tasks-moved">Moved <${Time} at=${alias.updated_at} /> by ${alias.updated_by}${alias.reason && html`: ${alias.reason}`}</p>
    ${canChange && html`<div class="row">
      <${Button} isSmall onClick=${() => onMove(name)} aria-label=${`Move ${name}`}>Move<//>
      <${Button} isSmall onClick=${() => setAsked("rollback")} aria-label=${`Roll back ${name}`}>Roll back<//>
      <${Button} isSmall kind="quiet" icon="trash" onClick=${() => setAsked("delete")} label=${`Delete ${name}`} />
    </div>`}
    ${asked === "rollback" && html`<${RollBackDialog} ...${{ task, alias, onChanged }} onClose=${close} />`}
    ${asked === "delete" && html`<${DeleteAliasDialog} ...${{ task, alias, onChanged }} onClose=${close} />`}
  </section>`;
}

/** How often a shadow agrees; read again and again. @param {{ task: string, alias: string }} props */
function AgreementFigures({ task, alias }) {
  const { data, error, reload } = usePoll(
    (signal) => /** @type {Promise<Alias>} */ (get(route`/v1/tasks/${task}/aliases/${alias}`, { signal })), AGREEMENT_EVERY_MS, [task, alias],
  );
  const counts = data?.agreement;
  const compared = counts?.num_compared ?? 0;
  return html`<div class="tasks-agreement">
    <${ErrorNotice} error=${error} title="The comparison could not be read" onRetry=${reload} />
    <${Stats}>
      <${Stat} label="Agreed" value=${counts && compared > 0 ? share(counts.num_agreed / compared) : "–"} />
      <${Stat} label="Compared" value=${counts ? compared : "–"} />
      <${Stat} label="Left out" value=${counts?.num_dropped ?? "–"} />
      <${Stat} label="Failed" value=${counts?.num_failed ?? "–"} />
    <//>
    <p class="hint">Whole greedy answers and classifications, since this server's start. Left out: the server was busy.</p>
  </div>`;
}

/** @typedef {{ task: string, alias: Alias, onChanged: () => void, onClose: () => void }} ChangeProps */

/** @param {ChangeProps} props */
function RollBackDialog({ task, alias, onChanged, onClose }) {
  const [reason, setReason, forget] = useDraft(`tasks.rollback.${task}.${alias.alias}`, "");
  const confirm = async () => {
    /** @type {Alias} */
    const moved = await post(route`/v1/tasks/${task}/aliases/${alias.alias}/rollback`, { reason });
    forget();
    tell(`${moved.alias} is back at ${placeWords(moved)}.`);
    onChanged();
  };
  return html`<${ConfirmDialog} title=${`Roll back ${alias.alias}`} confirmLabel="Roll back" onConfirm=${confirm} onClose=${onClose} adviceOf=${adviceOf}>
    <p>Its last move is undone, with all its versions and weights. Now it names ${placeWords(alias)}.</p>
    <${TextField} label="Reason" hint="Kept in the history." value=${reason} onInput=${setReason} />
  <//>`;
}

/** @param {ChangeProps} props */
function DeleteAliasDialog({ task, alias, onChanged, onClose }) {
  const confirm = async () => {
    await del(route`/v1/tasks/${task}/aliases/${alias.alias}`);
    tell(`${alias.alias} is deleted. Its history stays.`);
    onChanged();
  };
  const reference = alias.alias === "production" ? task : `${task}@${alias.alias}`;
  return html`<${ConfirmDialog} title=${`Delete ${alias.alias}`} confirmLabel="Delete the alias" isDanger onConfirm=${confirm} onClose=${onClose}>
    <p>Requests for <code>${reference}</code> then get an error. The versions stay.</p>
  <//>`;
}
