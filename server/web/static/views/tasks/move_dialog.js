/** Moves an alias, or makes one: to one version, to two that share the callers, or as a shadow. */

import { getTagged, put, route } from "../../api/client.js";
import { ApiError } from "../../api/errors.js";
import { Button, Choice, Dialog, ErrorNotice, fieldError, Notice, Select, Slider, Spinner, TextField, Time } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { useDraft } from "../../state/drafts.js";
import { useAction, useLoad } from "../../state/requests.js";
import { bodyOf, formOf, targetsOf } from "./move_form.js";
import { tell } from "./news.js";
import { adviceOf, nameFault, placeWords, targetWords } from "./words.js";

/** @typedef {import("../../api/types.js").Alias} Alias */
/** @typedef {import("./move_form.js").MoveForm} MoveForm */
/** @typedef {{ body: Alias | null, etag: string }} Present `body` null: there is no such alias. */

const NONE = /** @type {Present} */ ({ body: null, etag: "" });

/**
 * @param {{
 *   task: string, alias: string | null, aliases: string[], versions: number[], wanted: number | null,
 *   onClose: () => void, onMoved: () => void,
 * }} props `onMoved`: we, or somebody else, moved the alias. `alias` null makes a new one. `wanted` is a version to put in. `versions` are newest first.
 */
export function MoveDialog(props) {
  const { task, alias, onClose } = props;
  const loaded = useLoad(async (signal) => (alias === null ? NONE : await readAlias(task, alias, signal)), [task, alias]);
  if (loaded.data !== null) return html`<${MoveForm} ...${props} read=${loaded.data} />`;
  return html`<${Dialog} title=${titleOf(alias)} onClose=${onClose}>
    ${loaded.error ? html`<${ErrorNotice} error=${loaded.error} onRetry=${loaded.reload} />` : html`<${Spinner} label="Loading the alias" />`}
  <//>`;
}

/** @param {Parameters<typeof MoveDialog>[0] & { read: Present }} props */
function MoveForm({ task, alias, aliases, versions, wanted, read, onClose, onMoved }) {
  const [present, setPresent] = useState(read);
  const [isStale, setIsStale] = useState(false);
  const [draft, setDraft, forget] = useDraft(`tasks.move.${task}.${alias ?? ""}.${wanted ?? ""}`, /** @type {MoveForm | null} */ (null));
  const form = draft ?? formOf(read.body, versions, wanted);
  const change = (/** @type {Partial<MoveForm>} */ fields) => setDraft({ ...form, ...fields });
  const name = alias ?? form.alias.trim();
  const move = useAction(async () => {
    try {
      await save(task, name, present, form, onMoved);
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isStale) throw error;
      setPresent(await readAlias(task, name));
      setIsStale(true);
      onMoved();
      return;
    }
    forget();
    onClose();
  });
  const cancel = () => {
    forget();
    onClose();
  };
  const isSame = form.kind === "two" && form.first === form.second;
  const submit = () => {
    if (!isSame && nameFault(name) === null) void move.run();
  };
  const isNew = present.body === null;
  return html`<${Dialog}
    title=${titleOf(alias)} onClose=${cancel} onSubmit=${submit}
    actions=${html`<${Button} onClick=${cancel}>Cancel<//>
      <${Button} type="submit" kind="primary" isBusy=${move.isRunning} isDisabled=${isSame || nameFault(name) !== null}>
        ${isStale ? (isNew ? "Make it again" : "Move it all the same") : isNew ? "Make the alias" : "Move"}
      <//>`}
  >
    ${isStale ? html`<${StaleNotice} alias=${name} isMade=${read.body === null} present=${present.body} />` : present.body && html`<p>Now it names ${placeWords(present.body)}.</p>`}
    ${alias === null && html`<${TextField}
      label="Name" value=${form.alias} onInput=${(/** @type {string} */ value) => change({ alias: value })} isMono
      hint=${`Callers then ask for ${task}@${form.alias || "NAME"}.`} error=${form.alias === "" ? null : nameFault(name)}
    />`}
    <${TargetFields} form=${form} change=${change} versions=${versions} others=${aliases.filter((one) => one !== name)} isSame=${isSame} />
    <${TextField} label="Reason" hint="Kept in the history." value=${form.reason} onInput=${(/** @type {string} */ reason) => change({ reason })} error=${fieldError(move.error, "reason")} />
    ${!isSame && html`<p role="status">Then: ${placeWords({ targets: targetsOf(form), shadow_of: form.kind === "shadow" ? form.shadowOf : null })}.</p>`}
    <${ErrorNotice} error=${move.error} advice=${adviceOf(move.error)} />
  <//>`;
}

/**
 * @param {{
 *   form: MoveForm, change: (fields: Partial<MoveForm>) => void, versions: number[], others: string[], isSame: boolean,
 * }} props `others` may be shadowed.
 */
function TargetFields({ form, change, versions, others, isSame }) {
  const kinds = [{ value: "one", label: "One version" }, { value: "two", label: "Two", isDisabled: versions.length < 2 }, { value: "shadow", label: "Shadow", isDisabled: others.length === 0 }];
  const options = versions.map((version) => ({ value: String(version), label: `version ${version}` }));
  const pick = (/** @type {"only" | "first" | "second"} */ field, /** @type {string} */ label, error = "") => html`<${Select}
    label=${label} value=${String(form[field])} options=${options} error=${error}
    onChange=${(/** @type {string} */ value) => change({ [field]: Number(value) })}
  />`;
  return html`
    <${Choice} label="Answered by" value=${form.kind} onChange=${(/** @type {MoveForm["kind"]} */ kind) => change({ kind })} options=${kinds} />
    ${form.kind === "two"
      ? html`
        <div class="tasks-pair">${pick("first", "First")}${pick("second", "Second", isSame ? "Choose another version than the first." : "")}</div>
        <${Slider}
          label=${`Share of version ${form.second}`} value=${form.share} min=${0} max=${100} format=${(/** @type {number} */ value) => `${value} %`}
          onInput=${(/** @type {number} */ value) => change({ share: value })} hint="Callers with one key or one user keep their version."
        />`
      : pick("only", "Version")}
    ${form.kind === "shadow" && html`<${Select}
      label="Shadow of" value=${form.shadowOf} options=${others.map((value) => ({ value }))}
      hint="The version also runs on that alias's requests. Its answers are only compared."
      onChange=${(/** @type {string} */ shadowOf) => change({ shadowOf })}
    />`}
  `;
}

/** @param {{ alias: string, isMade: boolean, present: Alias | null }} props `isMade`: there was none when the dialog opened. */
function StaleNotice({ alias, isMade, present }) {
  if (present === null) {
    return html`<${Notice} tone="warn" title="Somebody deleted the alias meanwhile">Your input is kept. You can make ${alias} again.<//>`;
  }
  return html`<${Notice} tone="warn" title=${isMade ? `${alias} exists already` : `Somebody moved ${alias} meanwhile`}>
    <p>It now names ${placeWords(present)}.</p>
    <p>Moved <${Time} at=${present.updated_at} /> by ${present.updated_by}${present.reason && html`: ${present.reason}`}</p>
    <p>Your input is kept. Decide again.</p>
  <//>`;
}

/** @param {string | null} alias */
const titleOf = (alias) => (alias === null ? "New alias" : `Move ${alias}`);

/**
 * Write what is typed, unless the alias is no longer as it was read.
 * @param {string} task @param {string} name @param {Present} present @param {MoveForm} form @param {() => void} onMoved
 */
async function save(task, name, present, form, onMoved) {
  /** @type {Record<string, string>} */
  const headers = present.body === null ? { "if-none-match": "*" } : { "if-match": present.etag };
  /** @type {Alias} */
  const moved = await put(route`/v1/tasks/${task}/aliases/${name}`, bodyOf(form), { headers });
  tell(`${moved.alias} now names ${moved.shadow_of ? placeWords(moved) : targetWords(moved.targets)}.`);
  onMoved();
}

/** @param {string} task @param {string} alias @param {AbortSignal} [signal] @returns {Promise<Present>} */
async function readAlias(task, alias, signal) {
  try {
    return await getTagged(route`/v1/tasks/${task}/aliases/${alias}`, { signal });
  } catch (error) {
    if (error instanceof ApiError && error.code === "alias_not_found") return NONE;
    throw error;
  }
}
