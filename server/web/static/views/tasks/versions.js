/** The versions of a task, in a table. */

import { Badge, Button, Empty, Panel, Table, Time } from "../../parts/index.js";
import { html } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { answerOf, kindOf, share, sharesOf } from "./words.js";

/** @typedef {import("../../api/types.js").Version} Version */
/** @typedef {import("../../api/types.js").Alias} Alias */

/**
 * @param {{ task: string, versions: Version[], aliases: Alias[], onPromote: ((version: number) => void) | null }} props
 */
export function Versions({ task, versions, aliases, onPromote }) {
  const production = aliases.find((alias) => alias.alias === "production");
  /** @type {import("../../parts/table.js").Column<Version>[]} */
  const columns = [
    {
      title: "Version",
      render: (one) => html`<a class="tasks-name" href=${hrefOf("tasks", [task, String(one.version)])} aria-label=${`Version ${one.version}`}>${one.version}</a>`,
      sortBy: (one) => one.version,
    },
    { title: "Aliases", render: (one) => html`<${AliasBadges} version=${one.version} aliases=${aliases} />` },
    {
      title: "Kind",
      render: (one) => html`${kindOf(one)}${one.task_type && html`<div class="hint">${answerOf(one.task_type)}</div>`}`,
      sortBy: (one) => kindOf(one),
    },
    { title: "Virtual tokens", render: (one) => one.num_virtual_tokens, isNumber: true, sortBy: (one) => one.num_virtual_tokens },
    { title: "Note", render: (one) => html`<span class="tasks-clamp">${one.manifest.note || "–"}</span>` },
    { title: "Published", render: (one) => html`<span class="tasks-when"><${Time} at=${one.created_at} /></span>`, sortBy: (one) => one.created_at },
  ];
  if (onPromote !== null) {
    columns.push({
      title: "Change",
      render: (one) =>
        isOnly(production, one.version)
          ? html`<span class="hint tasks-when">in production</span>`
          : html`<${Button} isSmall onClick=${() => onPromote(one.version)} aria-label=${`Promote version ${one.version}`}>Promote<//>`,
    });
  }
  return html`<${Panel} title="Versions" note="A version never changes. Retired versions are not listed." isFlush>
    <${Table}
      label="Versions" columns=${columns} rows=${versions} rowKey=${(/** @type {Version} */ one) => one.version}
      empty=${html`<${Empty} title="No versions">Publish a checkpoint, or tune the task.<//>`}
    />
  <//>`;
}

/** The aliases that name a version, with their shares. @param {{ version: number, aliases: Alias[] }} props */
export function AliasBadges({ version, aliases }) {
  const badges = aliases.flatMap((alias) => {
    const target = sharesOf(alias.targets).find((one) => one.version === version);
    if (target === undefined) return [];
    const tone = alias.alias === "production" ? "accent" : alias.shadow_of ? "plain" : "info";
    const words = target.share === 1 ? alias.alias : `${alias.alias} ${share(target.share)}`;
    return [html`<${Badge} key=${alias.alias} tone=${tone} title=${alias.shadow_of ? `shadow of ${alias.shadow_of}` : undefined}>${words}<//>`];
  });
  return badges.length === 0 ? html`<span class="hint">none</span>` : html`<span class="tasks-badges">${badges}</span>`;
}

/** @param {Alias | undefined} alias @param {number} version */
export const isOnly = (alias, version) => alias !== undefined && alias.targets.length === 1 && alias.targets[0].version === version;
