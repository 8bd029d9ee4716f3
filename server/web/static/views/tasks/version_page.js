/** One version: what it is, what its manifest says, how it scored, and what the model sees. */

import { call, download, get, route } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { Button, ConfirmDialog, CopyButton, Empty, ErrorNotice, Facts, Page, Panel, Spinner, Time } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { go, hrefOf } from "../../router.js";
import { useMay } from "../../state/caller.js";
import { useAction, useLoad } from "../../state/requests.js";
import { ManifestPanel } from "./manifest.js";
import { Metrics } from "./metrics.js";
import { MoveDialog } from "./move_dialog.js";
import { News, tell } from "./news.js";
import { PromptExample } from "./prompt_example.js";
import { WhyNot } from "./task_page.js";
import { AliasBadges, isOnly } from "./versions.js";
import { adviceOf, answerOf, kindOf } from "./words.js";

/** @typedef {import("../../api/types.js").Task} Task */
/** @typedef {import("../../api/types.js").Version} Version */
/** @typedef {import("../../api/types.js").Alias} Alias */
/** @typedef {{ record: Task, version: Version, aliases: Alias[], production: Version | null }} Whole `production`: another version, to compare. */

const FILES = ["adapter_config.json", "adapter_model.safetensors"];

/** @param {{ task: string, number: number }} props */
export function VersionPage({ task, number }) {
  const { data, error, isLoading, reload } = useLoad((signal) => readVersion(task, number, signal), [task, number]);
  const back = { href: hrefOf("tasks", [task]), label: task };
  const title = `${task}, version ${number}`;
  if (data === null && error instanceof ApiError && error.status === 404) {
    return html`<${Page} title=${title} back=${back}>
      <${News} />
      <${Panel}><${Empty} title="There is no such version" action=${html`<a href=${back.href}>See the task</a>`}>It is retired, or was never published.<//><//>
    <//>`;
  }
  if (data !== null) return html`<${Loaded} ...${{ task, number, title, back, data, error, reload }} />`;
  return html`<${Page} title=${title} back=${back}>
    <${News} />
    <${ErrorNotice} error=${error} title="The version could not be read" onRetry=${reload} />
    ${isLoading && html`<${Spinner} label="Loading the version" />`}
  <//>`;
}

/** @param {{ task: string, number: number, title: string, back: object, data: Whole, error: unknown, reload: () => void }} props */
function Loaded({ task, number, title, back, data: { record, version, aliases, production }, error, reload }) {
  const mayWrite = useMay("tasks:write");
  const mayInfer = useMay("infer");
  const [asked, setAsked] = useState(/** @type {"" | "promote" | "retire"} */ (""));
  const saving = useAction(async () => {
    for (const file of FILES) await download(`${route`/v1/tasks/${task}/versions/${number}/`}${file}`, file);
  });
  const canChange = mayWrite && !record.read_only;
  const isPromoted = isOnly(aliases.find((alias) => alias.alias === "production"), number);
  const close = () => setAsked("");
  const actions = html`
    ${canChange && !isPromoted && html`<${Button} kind="primary" onClick=${() => setAsked("promote")}>Promote<//>`}
    ${version.peft_type !== null && html`<${Button} icon="download" onClick=${saving.run} isBusy=${saving.isRunning}>Download both files<//>`}
    ${canChange && html`<${Button} icon="trash" onClick=${() => setAsked("retire")}>Retire<//>`}`;
  return html`<${Page} title=${title} back=${back} actions=${actions}>
    <${News} />
    <${ErrorNotice} error=${error} title="The version could not be read again" onRetry=${reload} />
    <${ErrorNotice} error=${saving.error} title="The files could not be downloaded" onRetry=${saving.run} onDismiss=${saving.clear} />
    <${WhyNot} isReadOnly=${Boolean(record.read_only)} mayWrite=${mayWrite} />
    <div class="tasks-halves">
      <${VersionFacts} task=${task} version=${version} aliases=${aliases} />
      <${ManifestPanel} manifest=${version.manifest} taskType=${version.task_type} />
    </div>
    <${PromptExample} task=${task} version=${version} mayInfer=${mayInfer} />
    <${Metrics} version=${version} production=${production} />
    ${asked === "promote" && html`<${MoveDialog}
      task=${task} alias="production" wanted=${number} aliases=${aliases.map((alias) => alias.alias)}
      versions=${versionsOf(number, aliases)} onClose=${close} onMoved=${reload}
    />`}
    ${asked === "retire" && html`<${RetireDialog} task=${task} number=${number} onClose=${close} />`}
  <//>`;
}

/** @param {{ task: string, version: Version, aliases: Alias[] }} props */
function VersionFacts({ task, version, aliases }) {
  const link = (/** @type {number} */ number) => html`<a href=${hrefOf("tasks", [task, String(number)])}>version ${number}</a>`;
  const { parent_version: parent, training_data_digest: trainedOn } = version.manifest;
  return html`<${Panel} title="Version">
    <${Facts} facts=${[
      ["Ask for it as", html`<span class="tasks-reference"><code>${task}@${version.version}</code><${CopyButton} text=${`${task}@${version.version}`} /></span>`],
      ["Aliases", html`<${AliasBadges} version=${version.version} aliases=${aliases} />`],
      ["Kind", version.members.length === 0 ? kindOf(version) : html`Ensemble of ${version.members.map((member, index) => html`${index > 0 && ", "}${link(member)}`)}`],
      ["Answers", version.task_type ? html`${answerOf(version.task_type)} (<code>${version.task_type}</code>)` : answerOf(undefined)],
      ["Virtual tokens", version.num_virtual_tokens],
      ["Published", html`<${Time} at=${version.created_at} /> by ${version.created_by}`],
      ["Follows", parent === null ? null : link(parent)],
      ["Base model", version.base_model_name || "not named"],
      ["Digest", html`<code>${version.digest}</code>`],
      ["Training data", trainedOn && html`<code>${trainedOn}</code>`],
    ]} />
  <//>`;
}

/** @param {{ task: string, number: number, onClose: () => void }} props */
function RetireDialog({ task, number, onClose }) {
  const retire = async () => {
    await call("DELETE", route`/v1/tasks/${task}/versions/${number}`);
    tell(`Version ${number} is retired.`, hrefOf("tasks", [task]));
    go(hrefOf("tasks", [task]));
  };
  return html`<${ConfirmDialog} title=${`Retire version ${number}`} confirmLabel="Retire" isDanger adviceOf=${adviceOf} onConfirm=${retire} onClose=${onClose}>
    <p>Nobody can ask for it any more, and its number is never used again. Running requests finish. It cannot be brought back.</p>
  <//>`;
}

/** This version and those that aliases name, newest first. @param {number} number @param {Alias[]} aliases */
function versionsOf(number, aliases) {
  const named = aliases.flatMap((alias) => alias.targets.map((target) => target.version));
  return [...new Set([number, ...named])].sort((a, b) => b - a);
}

/** @param {string} task @param {number} number @param {AbortSignal} signal @returns {Promise<Whole>} */
async function readVersion(task, number, signal) {
  /** @type {[Task, Version, { data: Alias[] }]} */
  const [record, version, aliases] = await Promise.all([
    get(route`/v1/tasks/${task}`, { signal }),
    get(route`/v1/tasks/${task}/versions/${number}`, { signal }),
    get(route`/v1/tasks/${task}/aliases`, { signal }),
  ]);
  const other = record.production_version === number ? null : record.production_version;
  /** @type {Version | null} */
  const production = other === null ? null : await get(route`/v1/tasks/${task}/versions/${other}`, { signal });
  return { record, version, aliases: aliases.data, production };
}
