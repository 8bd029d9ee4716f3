/** The settings of a job: what was typed, the fields for it, and the body that they become. */

import { Checkbox, Columns, fieldError, NumberField, Select, TextArea, TextField } from "../../parts/index.js";
import { html } from "../../preact.js";

/** @typedef {import("../../api/types.js").JobPreview} JobPreview */
/** @typedef {typeof NO_SETTINGS} Settings As typed; an empty text leaves the server's default. */

export const NO_SETTINGS = {
  task: "", promote: false, template: "", method: "", task_type: "", initialisation: "", init_text: "", num_virtual_tokens: "", num_steps: "",
  batch_size: "", learning_rate: "", patience: "", seed: "", minScore: "", notWorse: false,
};

const METHODS = { PROMPT_TUNING: "Prompt tuning", P_TUNING: "P-tuning", PREFIX_TUNING: "Prefix tuning", CARTRIDGE: "Cartridge" };
const A_LABEL = "A label, by a head";
const INITIALISATIONS = { SAMPLE_VOCAB: "Random tokens", TEXT: "A text", LABELS: "The labels", RANDOM: "Random numbers" };
const NUMBERS = /** @type {const} */ (["num_virtual_tokens", "num_steps", "batch_size", "learning_rate", "patience"]);

/** The settings that decide what a job sees. @param {Settings} settings */
export function previewBody(settings) {
  const hyperparameters = hyperparametersOf(settings);
  return {
    ...(settings.template !== "" && { template: settings.template }),
    ...(Object.keys(hyperparameters).length > 0 && { hyperparameters }),
  };
}

/** The body of a job, without its files. @param {Settings} settings */
export function jobBody(settings) {
  const hasGate = settings.minScore.trim() !== "" || settings.notWorse;
  const gate = { ...(settings.minScore.trim() !== "" && { min_score: numberOf(settings.minScore) }), not_worse_than_production: settings.notWorse };
  return {
    ...previewBody(settings),
    suffix: settings.task.trim(),
    promote: settings.promote,
    ...(settings.seed.trim() !== "" && { seed: numberOf(settings.seed) }),
    ...(hasGate && { gate }),
  };
}

/** @param {Settings} settings @returns {Record<string, unknown>} */
function hyperparametersOf(settings) {
  const texts = /** @type {const} */ (["method", "task_type", "initialisation", "init_text"]);
  return Object.fromEntries([
    ...texts.filter((name) => settings[name] !== "").map((name) => [name, settings[name]]),
    ...NUMBERS.filter((name) => settings[name].trim() !== "").map((name) => [name, numberOf(settings[name])]),
  ]);
}

/** What is no number is sent as it was typed: the server says what it takes. @param {string} text */
const numberOf = (text) => (Number.isNaN(Number(text)) ? text.trim() : Number(text));

/**
 * @param {{ settings: Settings, onChange: (settings: Settings) => void, defaults: JobPreview | null, error: unknown }} props
 * `defaults` are what the server decides, for each field that is empty.
 */
export function SettingsFields({ settings, onChange, defaults, error }) {
  const set = (/** @type {Partial<Settings>} */ change) => onChange({ ...settings, ...change });
  const decided = defaults?.hyperparameters;
  const wordsOf = (/** @type {string} */ name) => fieldError(error, `hyperparameters.${name}`);
  /** @typedef {typeof NUMBERS[number]} NumberName */
  const numberField = (/** @type {NumberName} */ name, /** @type {string} */ label, /** @type {string} */ hint, /** @type {unknown} */ preset) => html`<${NumberField}
    label=${label} hint=${hint} value=${settings[name]} onInput=${(/** @type {string} */ text) => set({ [name]: text })}
    placeholder=${preset === null || preset === undefined ? "default" : String(preset)} error=${wordsOf(name)}
  />`;
  return html`
    <${Columns} min=${220}>
      <${Select}
        label="Method" hint="Prefix tuning learns most, prompt tuning is the smallest." value=${settings.method}
          onChange=${(/** @type {string} */ method) => set({ method })}
        options=${optionsOf(METHODS, settings.method === "" ? decided?.method : undefined)} error=${wordsOf("method")}
      />
      <${Select}
        label="Answers" hint="A head chooses one of the labels." value=${settings.task_type}
          onChange=${(/** @type {string} */ task_type) => set({ task_type })}
        options=${[
          { value: "", label: decided === undefined ? "Default" : `Default: ${decided.task_type === "SEQ_CLS" ? A_LABEL : "A text"}` },
          { value: "SEQ_CLS", label: A_LABEL },
        ]} error=${wordsOf("task_type")}
      />
      <${Select}
        label="Start values" hint="Of the virtual tokens." value=${settings.initialisation}
          onChange=${(/** @type {string} */ initialisation) => set({ initialisation, ...(initialisation !== "TEXT" && { init_text: "" }) })}
        options=${optionsOf(INITIALISATIONS, settings.initialisation === "" ? decided?.initialisation : undefined)}
          error=${wordsOf("initialisation")}
      />
      ${numberField("num_virtual_tokens", "Virtual tokens", "Vectors that the job learns.", decided?.num_virtual_tokens)}
      ${numberField("num_steps", "Steps", "Default: passes over the file decide.", decided?.num_steps ?? "by the file's size")}
      ${numberField("batch_size", "Examples per step", "More are steadier, and slower.", decided?.batch_size)}
      ${numberField("learning_rate", "Learning rate", "A number, or auto to try several.", decided?.learning_rate ?? "the method's own")}
      ${numberField("patience", "Patience", "Validations without a better one that end the run.", decided?.patience)}
      <${NumberField} label="Seed" hint="The same seed gives the same result." value=${settings.seed}
        onInput=${(/** @type {string} */ seed) => set({ seed })} placeholder="0" error=${fieldError(error, "seed")} />
    <//>
    ${settings.initialisation === "TEXT" && html`<${TextArea} label="Text to start from" rows=${2} value=${settings.init_text}
      onInput=${(/** @type {string} */ init_text) => set({ init_text })} error=${wordsOf("init_text")} />`}
    <${TextArea}
      label="Template" rows=${2} isMono value=${settings.template} onInput=${(/** @type {string} */ template) => set({ template })}
      placeholder=${defaults?.template ?? "the base model's chat template"}
        error=${fieldError(error, "manifest.template") ?? fieldError(error, "template")}
      hint="What stands around an input, with {input} once. Requests get the same. Empty: the default, which is shown in the field."
    />
    <${Columns} min=${220}>
      <${NumberField}
        label="Least exact match" hint="From 0 to 1. Below it, production stays." value=${settings.minScore}
          onInput=${(/** @type {string} */ minScore) => set({ minScore })}
        placeholder="no condition" error=${fieldError(error, "gate.min_score")}
      />
      <${Checkbox} label="Not worse than production" hint="Else production stays." isChecked=${settings.notWorse}
        onChange=${(/** @type {boolean} */ notWorse) => set({ notWorse })} />
    <//>
  `;
}

/** @param {Record<string, string>} names @param {string | undefined} preset */
const optionsOf = (names, preset) => [
  { value: "", label: preset === undefined ? "Default" : `Default: ${names[preset] ?? preset}` },
  ...Object.entries(names).map(([value, label]) => ({ value, label })),
];

/** The name of the task that a text becomes on the server. @param {string} text */
export const taskNameOf = (text) =>
  text.toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[._-]+|[._-]+$/g, "");

/** @param {{ settings: Settings, onChange: (settings: Settings) => void, error: unknown, known: string[] }} props `known` are tasks in production. */
export function TaskField({ settings, onChange, error, known }) {
  const name = taskNameOf(settings.task);
  const isKnown = known.includes(name);
  const hint = name !== "" && name !== settings.task.trim() ? `The task will be called ${name}. ` : "";
  const place = isKnown ? "It exists: the result is its next version." : "A new one goes into production with its first version.";
  return html`
    <${TextField}
      label="Task" value=${settings.task} onInput=${(/** @type {string} */ task) => onChange({ ...settings, task })}
        error=${fieldError(error, "suffix")}
      hint=${hint + place} placeholder="such as sentiment" maxlength="64" list="tuning-tasks"
    />
    <datalist id="tuning-tasks">${known.map((task) => html`<option key=${task} value=${task} />`)}</datalist>
    ${isKnown && html`<${Checkbox} label="Move production to the result"
      hint="Without it, the new version waits until somebody moves production." isChecked=${settings.promote}
      onChange=${(/** @type {boolean} */ promote) => onChange({ ...settings, promote })} />`}
  `;
}
