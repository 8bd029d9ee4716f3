/** Inputs with a label, a hint and an error of their own. `onInput` and `onChange` get the value, not the event. */

import { html, useId } from "../preact.js";

/**
 * @typedef {object} FieldProps
 * @property {string} label
 * @property {import("../preact.js").Children} [hint]
 * @property {string | null} [error] Words about this field's value; `fieldError` finds those of a request.
 * @property {boolean} [isLabelHidden] Screen readers hear the label all the same.
 */

/** The words of an error if it is about a parameter: next to its field, not above the form. @param {unknown} error @param {string} param */
export function fieldError(error, param) {
  const about = error !== null && typeof error === "object" && "param" in error ? error.param : null;
  return about === param && error instanceof Error ? error.message : null;
}

/**
 * The frame of a field; `control` renders the input with the attributes that connect it.
 * @param {FieldProps & { control: (attributes: Record<string, unknown>) => unknown }} props
 */
export function Field({ label, hint, error, isLabelHidden, control }) {
  const id = useId();
  const about = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return html`<div class="field">
    <label for=${id} class=${isLabelHidden ? "visually-hidden" : ""}>${label}</label>
    ${control({ id, "aria-describedby": about || undefined, "aria-invalid": error ? "true" : undefined })}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="field-error" id=${`${id}-error`} role="alert">${error}</p>`}
  </div>`;
}

/** @param {FieldProps & { value: string, onInput: (value: string) => void, type?: string, isMono?: boolean, [attribute: string]: unknown }} props */
export const TextField = ({ label, hint, error, isLabelHidden, value, onInput, type = "text", isMono, ...more }) => html`<${Field}
  ...${{ label, hint, error, isLabelHidden }}
  control=${(/** @type {object} */ attributes) => html`<input
    type=${type} class=${isMono ? "mono" : ""} value=${value} autocomplete="off" spellcheck=${false}
    onInput=${(/** @type {any} */ event) => onInput(event.target.value)} ...${attributes} ...${more}
  />`}
/>`;

/** A number, as the text that was typed: `parseNumber` reads it. @param {FieldProps & { value: string, onInput: (value: string) => void, [attribute: string]: unknown }} props */
export const NumberField = (props) => html`<${TextField} inputmode="decimal" isMono ...${props} />`;

/** The number that a text says; undefined for an empty text, null for one that is no number. @param {string} text */
export function parseNumber(text) {
  if (text.trim() === "") return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/** @param {FieldProps & { value: string, onInput: (value: string) => void, rows?: number, isMono?: boolean, onSubmit?: () => void, [attribute: string]: unknown }} props `onSubmit`: Ctrl or Command with Enter. */
export const TextArea = ({ label, hint, error, isLabelHidden, value, onInput, rows = 4, isMono, onSubmit, ...more }) => html`<${Field}
  ...${{ label, hint, error, isLabelHidden }}
  control=${(/** @type {object} */ attributes) => html`<textarea
    rows=${rows} class=${isMono ? "mono" : ""} value=${value} onInput=${(/** @type {any} */ event) => onInput(event.target.value)}
    onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && onSubmit?.()}
    ...${attributes} ...${more}
  ></textarea>`}
/>`;

/** @typedef {{ value: string, label?: string, isDisabled?: boolean }} Option */

/** @param {FieldProps & { value: string, onChange: (value: string) => void, options: Option[], [attribute: string]: unknown }} props */
export const Select = ({ label, hint, error, isLabelHidden, value, onChange, options, ...more }) => html`<${Field}
  ...${{ label, hint, error, isLabelHidden }}
  control=${(/** @type {object} */ attributes) => html`<select
    value=${value} onChange=${(/** @type {any} */ event) => onChange(event.target.value)} ...${attributes} ...${more}
  >
    ${options.map((one) => html`<option key=${one.value} value=${one.value} disabled=${one.isDisabled}>${one.label ?? one.value}</option>`)}
  </select>`}
/>`;

/** @param {{ label: string, isChecked: boolean, onChange: (isChecked: boolean) => void, hint?: string, isDisabled?: boolean }} props */
export function Checkbox({ label, isChecked, onChange, hint, isDisabled }) {
  const id = useId();
  return html`<div class="checkbox">
    <input
      type="checkbox" id=${id} checked=${isChecked} disabled=${isDisabled} aria-describedby=${hint ? `${id}-hint` : undefined}
      onChange=${(/** @type {any} */ event) => onChange(event.target.checked)}
    />
    <label for=${id}>${label}</label>
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** One of a few, side by side. @param {{ label: string, value: string, onChange: (value: string) => void, options: Option[], isLabelHidden?: boolean }} props */
export function Choice({ label, value, onChange, options, isLabelHidden }) {
  const name = useId();
  return html`<fieldset class="choice">
    <legend class=${isLabelHidden ? "visually-hidden" : ""}>${label}</legend>
    <div>
      ${options.map((one) => html`<label key=${one.value}>
        <input type="radio" name=${name} value=${one.value} checked=${one.value === value} disabled=${one.isDisabled} onChange=${() => onChange(one.value)} />
        <span>${one.label ?? one.value}</span>
      </label>`)}
    </div>
  </fieldset>`;
}

/**
 * @param {FieldProps & {
 *   value: number, onInput: (value: number) => void, min: number, max: number, step?: number, isDisabled?: boolean,
 *   format?: (value: number) => string,
 * }} props `format` is also what screen readers say.
 */
export const Slider = ({ label, hint, error, value, onInput, min, max, step = 1, isDisabled, format = String }) => html`<${Field}
  ...${{ label, hint, error }}
  control=${(/** @type {object} */ attributes) => html`<div class="slider">
    <input
      type="range" min=${min} max=${max} step=${step} value=${value} disabled=${isDisabled} aria-valuetext=${format(value)}
      style=${{ "--filled": `${((value - min) / (max - min)) * 100}%` }}
      onInput=${(/** @type {any} */ event) => onInput(Number(event.target.value))} ...${attributes}
    />
    <output>${format(value)}</output>
  </div>`}
/>`;
