/** The tasks of the store: `#/tasks`, `#/tasks/NAME`, `#/tasks/NAME/VERSION`, and with `?publish` the form for a version. */

import { Empty } from "../parts/index.js";
import { html } from "../preact.js";
import { hrefOf } from "../router.js";
import { TaskList } from "./tasks/list.js";
import { PublishPage } from "./tasks/publish.js";
import { NoTask, TaskPage } from "./tasks/task_page.js";
import { VersionPage } from "./tasks/version_page.js";
import { nameFault } from "./tasks/words.js";

/** @param {import("../views.js").ViewProps} props */
export default function TasksView({ place }) {
  const [task, version, ...more] = place.path;
  if (more.length > 0 || (version !== undefined && !/^[1-9]\d{0,9}$/.test(version))) {
    return html`<${Empty} title="There is no such place" action=${html`<a href=${hrefOf("tasks")}>All tasks</a>`} />`;
  }
  if (task !== undefined && nameFault(task) !== null) return html`<${NoTask} task=${task} />`;
  if (place.query.has("publish")) return html`<${PublishPage} key=${task ?? ""} task=${task ?? null} />`;
  if (task === undefined) return html`<${TaskList} />`;
  if (version === undefined) return html`<${TaskPage} key=${task} task=${task} />`;
  return html`<${VersionPage} key=${`${task}/${version}`} task=${task} number=${Number(version)} />`;
}
