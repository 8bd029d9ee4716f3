/** Publishes a checkpoint as a version: its folder, and the fields of its manifest. */

import { route, upload } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { bytes } from "../../format.js";
import { Button, Checkbox, ErrorNotice, fieldError, Page, Panel, Row, TextField } from "../../parts/index.js";
import { html, useEffect, useRef, useState } from "../../preact.js";
import { go, hrefOf } from "../../router.js";
import { useMay } from "../../state/caller.js";
import { useDraft } from "../../state/drafts.js";
import { useAction } from "../../state/requests.js";
import { NO_FILES, withFiles } from "./checkpoint.js";
import { CheckpointFiles } from "./checkpoint_files.js";
import { ManifestFields } from "./manifest_fields.js";
import { tell } from "./news.js";
import { EMPTY_FORM, filled, requestOf, templateFault } from "./publish_form.js";
import { WhyNot } from "./task_page.js";
import { adviceOf, nameFault } from "./words.js";

/** @typedef {import("./publish_form.js").PublishForm} PublishForm */
/** @typedef {import("../../api/types.js").Schemas["PublishedVersion"]} PublishedVersion */

/** @param {{ task: string | null }} props null asks for a name. */
export function PublishPage({ task }) {
  const mayWrite = useMay("tasks:write");
  const back = task === null ? { href: hrefOf("tasks"), label: "All tasks" } : { href: hrefOf("tasks", [task]), label: task };
  return html`<${Page}
    title=${task === null ? "Publish a checkpoint" : `Publish a version of ${task}`} back=${back}
    lead="A checkpoint is the folder that PEFT saves: its settings and its tensors. It becomes a version that never changes."
  >
    ${mayWrite ? html`<${PublishBody} task=${task} />` : html`<${WhyNot} isReadOnly=${false} mayWrite=${false} />`}
  <//>`;
}

/** @param {{ task: string | null }} props */
function PublishBody({ task }) {
  const [form, setForm, forget] = useDraft(`tasks.publish.${task ?? ""}`, EMPTY_FORM);
  const [files, setFiles] = useState(NO_FILES);
  const [hasTried, setHasTried] = useState(false);
  const name = task ?? form.task.trim();
  const change = (/** @type {Partial<PublishForm>} */ fields) => setForm((/** @type {PublishForm} */ earlier) => ({ ...earlier, ...fields }));
  const sending = useSending(name, form, files, forget);
  const take = async (/** @type {File[]} */ chosen) => {
    const next = await withFiles(files, chosen);
    setFiles(next);
    sending.clear();
    const { manifestFields } = next;
    if (manifestFields !== null) setForm((/** @type {PublishForm} */ earlier) => filled(earlier, manifestFields));
  };
  const isComplete = files.config !== null && files.tensors !== null;
  const fault = templateFault(form.template);
  const hint = !isComplete ? "Choose the missing file first." : nameFault(name) !== null || fault !== null ? "Correct the field above first." : "";
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    setHasTried(true);
    if (hint === "" && !sending.isRunning) void sending.run();
  };
  const { error } = sending;
  const isBeside = isOfField(error) || (task === null && isReserved(error));
  return html`<form class="tasks-publish" onSubmit=${submit} novalidate>
    <${Panel} title="Checkpoint">
      <${CheckpointFiles} files=${files} onFiles=${take} hasTried=${hasTried} error=${error} isDisabled=${sending.isRunning} />
    <//>
    ${task === null && html`<${Panel} title="Task">
      <${TextField}
        label="Name" value=${form.task} onInput=${(/** @type {string} */ value) => change({ task: value })} isMono
        hint="Small letters, digits, dots, dashes and underscores. A task of this name gets another version." error=${hasTried && nameFault(name) !== null ? nameFault(name) : isReserved(error) ? error.message : null}
      />
      <${TextField} label="Description" value=${form.description} onInput=${(/** @type {string} */ description) => change({ description })} hint="For a new task only." />
    <//>`}
    <${ManifestFields} form=${form} change=${change} error=${error} fault=${fault} config=${files.configFields ?? {}} />
    <${Panel}>
      <${Checkbox}
        label="Promote" isChecked=${form.isPromoted} onChange=${(/** @type {boolean} */ isPromoted) => change({ isPromoted })}
        hint="production names this version at once. A task's first version is promoted in any case."
      />
      ${isMismatch(error, form) && html`<${Checkbox}
        label="Publish it although it names another base model" isChecked=${form.allowsMismatch}
        onChange=${(/** @type {boolean} */ allowsMismatch) => change({ allowsMismatch })} hint="Its sizes must still fit. It may answer nonsense."
      />`}
      ${!isBeside && html`<${ErrorNotice} error=${error} title="It is not published" advice=${adviceOf(error)} />`}
      ${isBeside && html`<p class="field-error">It is not published: see the field above.</p>`}
      ${sending.isRunning && html`<div class="tasks-progress">
        <progress value=${sending.share} max="1" aria-label="Sent"></progress>
        <span class="hint">${sending.share < 1 ? `${Math.round(sending.share * 100)} % of ${bytes(files.tensors?.size ?? 0)} sent` : "The server checks it"}</span>
      </div>`}
      <${Row}>
        <${Button} type="submit" kind="primary" icon="upload" isBusy=${sending.isRunning}>Publish<//>
        ${sending.isRunning && html`<${Button} icon="stop" onClick=${sending.stop}>Stop<//>`}
        ${hasTried && hint && html`<span class="field-error" role="alert">${hint}</span>`}
      <//>
    <//>
  </form>`;
}

/**
 * The upload, with how far it is. Leaving the page ends it.
 * @param {string} task @param {PublishForm} form @param {import("./checkpoint.js").Checkpoint} files @param {() => void} forget
 */
function useSending(task, form, files, forget) {
  const [share, setShare] = useState(0);
  const controller = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => controller.current?.abort(), []);
  const action = useAction(async () => {
    const { signal } = (controller.current = new AbortController());
    setShare(0);
    /** @type {PublishedVersion} */
    const published = await upload(route`/v1/tasks/${task}/versions`, () => requestOf(form, files), { onProgress: setShare, signal });
    const href = hrefOf("tasks", [task, String(published.version)]);
    tell(publishedWords(published), href);
    forget();
    go(href);
  });
  return { ...action, share, stop: () => controller.current?.abort() };
}

/** @param {PublishedVersion} published */
function publishedWords({ task, version, created, promoted, left_out }) {
  const where = promoted ? ` ${task} now answers with it.` : "";
  const notes = (left_out ?? []).map(({ note }) => ` Note: ${note}.`).join("");
  return `${created ? `Version ${version} of ${task} is published.` : `The same content is version ${version} already, so nothing new was stored.`}${where}${notes}`;
}

const FIELDS = ["manifest.template", "manifest.labels", "manifest.note", "manifest.pooling", "manifest.normalize", "manifest.problem_type", "adapter_config", "adapter_model"];

/** Whether the error is told beside a field of the manifest, or beside a file. @param {unknown} error */
const isOfField = (error) => FIELDS.some((name) => fieldError(error, name) !== null);

/** @param {unknown} error @returns {error is ApiError} */
const isReserved = (error) => error instanceof ApiError && error.code === "name_reserved";

/** @param {unknown} error @param {PublishForm} form */
const isMismatch = (error, form) => form.allowsMismatch || (error instanceof ApiError && error.code === "base_mismatch");
