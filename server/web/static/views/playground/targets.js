/** Who is asked: tasks, their versions and aliases, and the bare base model. */

import { get, listAll, route } from "../../api/client.js";
import { Button, Select } from "../../parts/index.js";
import { html } from "../../preact.js";
import { useMay } from "../../state/caller.js";
import { useLoad } from "../../state/requests.js";

/** @typedef {import("../../api/types.js").Alias} Alias */
/** @typedef {import("../../api/types.js").Version} Version */
/** @typedef {{ name: string, at: string }} Target `at` is an alias or a number; empty means production, or the base model. */

export const MAX_TARGETS = 4;

/** Who may be asked, the base model first unless it answers nothing alone. @param {import("../../state/models.js").Models} models */
export const modelsOf = ({ base, tasks }) => [...(base?.endpoints?.length ? [base] : []), ...tasks];

/** The reference of a target, for `model`. @param {Target} target */
export const referenceOf = ({ name, at }) => (at === "" ? name : `${name}@${at}`);

/**
 * @param {{
 *   targets: Target[], onChange: (targets: Target[]) => void,
 *   models: { base: import("../../api/types.js").Model | null, tasks: import("../../api/types.js").Model[] },
 * }} props
 */
export function Targets({ targets, onChange, models }) {
  const set = (/** @type {number} */ index, /** @type {Target} */ target) => onChange(targets.with(index, target));
  return html`<div class="playground-targets">
    ${targets.map((target, index) => html`<${TargetPicker}
      key=${index} number=${index + 1} target=${target} models=${models} onChange=${(/** @type {Target} */ next) => set(index, next)}
      onRemove=${targets.length > 1 ? () => onChange(targets.toSpliced(index, 1)) : null}
    />`)}
    ${targets.length < MAX_TARGETS && html`<${Button} icon="plus" kind="quiet" onClick=${() => onChange([...targets, targets[targets.length - 1]])}>
      Compare with another
    <//>`}
  </div>`;
}

/** @param {{ number: number, target: Target, models: any, onChange: (target: Target) => void, onRemove: (() => void) | null }} props */
function TargetPicker({ number, target, models, onChange, onRemove }) {
  const isTask = target.name !== models.base?.id;
  const versions = useVersions(isTask ? target.name : null);
  const known = modelsOf(models).map((model) => model.id);
  const names = known.includes(target.name) ? known : [target.name, ...known]; // a draft may name a task that is gone
  return html`<div class="playground-target">
    <${Select}
      label=${number === 1 ? "Task" : `Task ${number}`} value=${target.name} onChange=${(/** @type {string} */ name) => onChange({ name, at: "" })}
      options=${names.map((name) => ({ value: name, label: name === models.base?.id ? `${name} (bare base model)` : name }))}
    />
    ${isTask && html`<${Select}
      label="Version" value=${target.at} onChange=${(/** @type {string} */ at) => onChange({ ...target, at })}
      options=${[{ value: "", label: "production" }, ...withOwn(versions, target.at)]}
    />`}
    ${onRemove && html`<${Button} kind="quiet" icon="close" label=${`Do not ask ${referenceOf(target)}`} onClick=${onRemove} />`}
  </div>`;
}

/** @param {import("../../parts/field.js").Option[]} options @param {string} own */
const withOwn = (options, own) => (own === "" || options.some((one) => one.value === own) ? options : [...options, { value: own }]);

/**
 * The aliases and live versions of a task; none for a key that may not list them.
 * @param {string | null} task
 * @returns {import("../../parts/field.js").Option[]}
 */
function useVersions(task) {
  const mayList = useMay("tasks:read");
  const { data } = useLoad(async (signal) => {
    if (task === null || !mayList) return [];
    /** @type {{ data: Alias[] }} */
    const aliases = await get(route`/v1/tasks/${task}/aliases`, { signal });
    const versions = await listAll(route`/v1/tasks/${task}/versions`, (/** @type {Version} */ last) => ({ before: last.version }), { signal });
    return [
      ...aliases.data.filter((alias) => alias.alias !== "production").map((alias) => ({ value: alias.alias })),
      ...versions.filter((version) => version.retired_at === null).map((version) => ({ value: String(version.version), label: `version ${version.version}` })),
    ];
  }, [task, mayList]);
  return data ?? [];
}
