/** Questions in front of the page: the browser's own dialog, with its focus and its Escape key. */

import { html, useEffect, useId, useRef } from "../preact.js";
import { useAction } from "../state/requests.js";
import { Button } from "./button.js";
import { ErrorNotice } from "./notice.js";

/** @typedef {import("../preact.js").Children} Children */

/**
 * A dialog as long as it is rendered. Its first field has the focus. Escape and the close button call `onClose`.
 * @param {{ title: string, children?: Children, actions?: Children, onClose: () => void, onSubmit?: () => void }} props
 * With `onSubmit` it is a form: its submit button, and Enter in a field, call it.
 */
export function Dialog({ title, children, actions, onClose, onSubmit }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement;
    dialog.current?.showModal();
    /** @type {HTMLElement | null | undefined} */ (dialog.current?.querySelector(".dialog-body :is(input, select, textarea)"))?.focus();
    return () => opener instanceof HTMLElement && opener.focus();
  }, []);
  const cancel = (/** @type {Event} */ event) => {
    event.preventDefault(); // what closes it is that it is no longer rendered
    onClose();
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog ref=${dialog} aria-labelledby=${id} onCancel=${cancel}>
    <form onSubmit=${submit}>
      <header><h2 id=${id}>${title}</h2><${Button} kind="quiet" icon="close" label="Close" onClick=${onClose} /></header>
      <div class="dialog-body">${children}</div>
      <footer>${actions}</footer>
    </form>
  </dialog>`;
}

/**
 * Asks before something that cannot be undone. `onConfirm` runs while the dialog stays; a failure is told in it.
 * @param {{
 *   title: string, children?: Children, confirmLabel: string, isDanger?: boolean, isDisabled?: boolean,
 *   adviceOf?: (error: unknown) => string | undefined, onConfirm: () => Promise<unknown>, onClose: () => void,
 * }} props `isDisabled` holds it back. `adviceOf` says what to do about an error.
 */
export function ConfirmDialog({ title, children, confirmLabel, isDanger, isDisabled, adviceOf, onConfirm, onClose }) {
  const confirm = useAction(async () => {
    await onConfirm();
    onClose();
  });
  return html`<${Dialog}
    title=${title} onClose=${onClose} onSubmit=${() => !isDisabled && !confirm.isRunning && void confirm.run()}
    actions=${html`
      <${Button} onClick=${onClose}>Cancel<//>
      <${Button} type="submit" kind=${isDanger ? "danger" : "primary"} isBusy=${confirm.isRunning} isDisabled=${isDisabled}>${confirmLabel}<//>
    `}
  >
    ${children}
    <${ErrorNotice} error=${confirm.error} advice=${adviceOf?.(confirm.error)} />
  <//>`;
}
