/** One task: who answers, its versions, its history. */

import { get, listAll, route } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { Button, Empty, ErrorNotice, LinkButton, Notice, Page, Panel, Spinner } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { useMay } from "../../state/caller.js";
import { useLoad } from "../../state/requests.js";
import { Aliases } from "./aliases.js";
import { DeleteTaskDialog } from "./delete_task.js";
import { History } from "./history.js";
import { MoveDialog } from "./move_dialog.js";
import { News } from "./news.js";
import { Versions } from "./versions.js";

/** @typedef {import("../../api/types.js").Task} Task */
/** @typedef {import("../../api/types.js").Version} Version */
/** @typedef {import("../../api/types.js").Alias} Alias */
/** @typedef {{ task: Task, versions: Version[], aliases: Alias[] }} Whole */

const BACK = { href: hrefOf("tasks"), label: "All tasks" };

/** @param {{ task: string }} props */
export function TaskPage({ task }) {
  const { data, error, isLoading, reload } = useLoad((signal) => readTask(task, signal), [task]);
  if (data === null && error instanceof ApiError && error.code === "task_not_found") {
    return html`<${NoTask} task=${task} />`;
  }
  return html`<${Loaded} task=${task} data=${data} reload=${reload}>
    <${ErrorNotice} error=${error} title="The task could not be read" onRetry=${reload} />
    ${data === null && isLoading && html`<${Spinner} label="Loading the task" />`}
  <//>`;
}

/** @param {{ task: string }} props */
export const NoTask = ({ task }) => html`<${Page} title=${task} back=${BACK}>
  <${News} />
  <${Panel}><${Empty} title="There is no such task" action=${html`<a href=${BACK.href}>See all tasks</a>`}>It was deleted, or the name is mistyped.<//><//>
<//>`;

/** @param {{ task: string, data: Whole | null, reload: () => void, children?: unknown }} props `children`: how reading goes. */
function Loaded({ task, data, reload, children }) {
  const mayWrite = useMay("tasks:write");
  const [moving, setMoving] = useState(/** @type {{ alias: string | null, wanted: number | null } | null} */ (null));
  const [isDeleting, setIsDeleting] = useState(false);
  const canChange = mayWrite && data !== null && !data.task.read_only;
  const actions = canChange && html`
    <${LinkButton} icon="upload" kind="primary" href=${hrefOf("tasks", [task], { publish: "new" })}>Publish a version<//>
    <${Button} icon="trash" onClick=${() => setIsDeleting(true)}>Delete the task<//>`;
  const move = (/** @type {string | null} */ alias, wanted = /** @type {number | null} */ (null)) => setMoving({ alias, wanted });
  return html`<${Page} title=${task} lead=${data?.task.description} back=${BACK} actions=${actions}>
    <${News} />
    ${children}
    ${data !== null && html`
      <${WhyNot} isReadOnly=${Boolean(data.task.read_only)} mayWrite=${mayWrite} />
      <${Aliases}
        task=${task} aliases=${data.aliases} canChange=${canChange} hasVersions=${data.versions.length > 0}
        onMove=${(/** @type {string | null} */ alias) => move(alias)} onChanged=${reload}
      />
      <${Versions}
        task=${task} versions=${data.versions} aliases=${data.aliases}
        onPromote=${canChange ? (/** @type {number} */ version) => move("production", version) : null}
      />
      <${History} task=${task} aliases=${data.aliases.map((alias) => alias.alias)} stamp=${data.aliases.map((alias) => alias.alias + alias.updated_at).join()} />
      ${moving && html`<${MoveDialog}
        task=${task} alias=${moving.alias} wanted=${moving.wanted} aliases=${data.aliases.map((alias) => alias.alias)}
        versions=${data.versions.map((version) => version.version)} onClose=${() => setMoving(null)} onMoved=${reload}
      />`}`}
    ${isDeleting && html`<${DeleteTaskDialog} task=${task} onClose=${() => setIsDeleting(false)} />`}
  <//>`;
}

/** Why nothing can be changed here. @param {{ isReadOnly: boolean, mayWrite: boolean }} props */
export function WhyNot({ isReadOnly, mayWrite }) {
  if (isReadOnly) {
    return html`<${Notice} title="This task is read-only">A folder on the server publishes it. Change it in that folder; the server follows.<//>`;
  }
  return mayWrite ? null : html`<${Notice} title="You can look, but not change">The key lacks the scope tasks:write.<//>`;
}

/** @param {string} task @param {AbortSignal} signal @returns {Promise<Whole>} */
async function readTask(task, signal) {
  /** @type {[Task, Version[], { data: Alias[] }]} */
  const [record, versions, aliases] = await Promise.all([
    get(route`/v1/tasks/${task}`, { signal }),
    listAll(route`/v1/tasks/${task}/versions`, (/** @type {Version} */ last) => ({ before: last.version }), { signal }),
    get(route`/v1/tasks/${task}/aliases`, { signal }),
  ]);
  return { task: record, versions, aliases: aliases.data };
}
