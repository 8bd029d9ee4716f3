/** All tasks, with a search. */

import { listAll } from "../../api/client.js";
import { counted } from "../../format.js";
import { Badge, Button, Empty, ErrorNotice, LinkButton, Page, Panel, Spinner, Table, TextField, Time } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { hrefOf } from "../../router.js";
import { useMay } from "../../state/caller.js";
import { useDraft } from "../../state/drafts.js";
import { useLoad } from "../../state/requests.js";
import { News } from "./news.js";

/** @typedef {import("../../api/types.js").Task} Task */

const PAGE_SIZE = 200;

/** @type {import("../../parts/table.js").Column<Task>[]} */
const COLUMNS = [
  {
    title: "Task",
    render: (task) => html`<div class="tasks-cell">
      <a class="tasks-name" href=${hrefOf("tasks", [task.name])}>${task.name}</a>
      ${task.read_only && html` <${Badge} title="A folder on the server publishes it">read-only<//>`}
    </div>`,
    sortBy: (task) => task.name,
  },
  { title: "Description", render: (task) => html`<span class="tasks-clamp">${task.description || "–"}</span>` },
  {
    title: "Production",
    render: (task) => (task.production_version === null ? html`<${Badge} tone="warn">none<//>` : html`<${Badge} tone="accent">version ${task.production_version}<//>`),
    sortBy: (task) => task.production_version,
  },
  { title: "Latest", render: (task) => task.latest_version ?? "–", isNumber: true, sortBy: (task) => task.latest_version },
  { title: "Created", render: (task) => html`<span class="tasks-when"><${Time} at=${task.created_at} /></span>`, sortBy: (task) => task.created_at },
];

export function TaskList() {
  const tasks = useLoad((signal) => listAll("/v1/tasks", (/** @type {Task} */ last) => ({ after: last.name }), { signal }), []);
  const mayWrite = useMay("tasks:write");
  const publish = mayWrite && html`<${LinkButton} kind="primary" icon="upload" href=${hrefOf("tasks", [], { publish: "new" })}>Publish a checkpoint<//>`;
  return html`<${Page} title="Tasks" lead="Each task has versions of its soft prompt. Aliases say which one answers." actions=${publish}>
    <${News} />
    <${ErrorNotice} error=${tasks.error} title="The tasks could not be listed" onRetry=${tasks.reload} />
    ${tasks.data === null
      ? tasks.isLoading && html`<${Spinner} label="Loading the tasks" />`
      : tasks.data.length === 0
        ? html`<${Panel}><${Empty} title="No tasks yet" action=${publish}>
            A task begins with a PEFT checkpoint, or with a tuning job. Its first version goes into production.
          <//><//>`
        : html`<${Found} tasks=${tasks.data} />`}
  <//>`;
}

/** @param {{ tasks: Task[] }} props */
function Found({ tasks }) {
  const [search, setSearch] = useDraft("tasks.search", "");
  const [max, setMax] = useState(PAGE_SIZE);
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = tasks.filter((task) => words.every((word) => `${task.name} ${task.description}`.toLowerCase().includes(word)));
  return html`
    <div class="tasks-search">
      <${TextField} label="Search" isLabelHidden type="search" placeholder="Search by name or description" value=${search} onInput=${setSearch} />
      <span class="hint" role="status">${words.length > 0 ? `${found.length} of ${counted(tasks.length, "task")}` : counted(tasks.length, "task")}</span>
    </div>
    <${Panel} isFlush>
      <${Table}
        label="Tasks" columns=${COLUMNS} rows=${found.slice(0, max)} rowKey=${(/** @type {Task} */ task) => task.name}
        empty=${html`<${Empty} title="No task matches" action=${html`<${Button} onClick=${() => setSearch("")}>Show all tasks<//>`}>
          Names and descriptions are searched for every word.
        <//>`}
      />
    <//>
    ${found.length > max && html`<div class="row"><${Button} onClick=${() => setMax(max + PAGE_SIZE)}>Show more<//><span class="hint">${max} of ${found.length} are shown.</span></div>`}
  `;
}
