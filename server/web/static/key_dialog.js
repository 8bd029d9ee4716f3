/** Asks for an API key, and says why. */

import { Button, Dialog, TextField } from "./parts/index.js";
import { html, useState } from "./preact.js";
import { enterKey, keyQuestion } from "./state/key.js";
import { useStore } from "./state/store.js";

const REASONS = {
  missing: "This server wants an API key.",
  refused: "The server does not accept the key. It may be mistyped, expired or revoked.",
  chosen: "Requests of this tab will send the key.",
};

/** Nothing, unless a request or a person asks for a key. */
export function KeyDialog() {
  const question = useStore(keyQuestion);
  return question && html`<${KeyForm} reason=${question.reason} onCancel=${() => question.answer(false)} />`;
}

/** @param {{ reason: import("./state/key.js").Reason, onCancel: () => void }} props */
function KeyForm({ reason, onCancel }) {
  const [secret, setSecret] = useState("");
  const [error, setError] = useState("");
  const submit = () => {
    if (/^[!-~]+$/.test(secret.trim())) enterKey(secret.trim());
    else setError(secret.trim() === "" ? "Enter a key." : "A key has visible ASCII characters only, and no spaces.");
  };
  return html`<${Dialog}
    title="API key" onClose=${onCancel} onSubmit=${submit}
    actions=${html`<${Button} onClick=${onCancel}>Cancel<//><${Button} type="submit" kind="primary">Use the key<//>`}
  >
    <p>${REASONS[reason]}</p>
    <${TextField}
      label="Key" type="password" value=${secret} onInput=${setSecret} error=${error} isMono
      hint="It stays in this tab, and is forgotten when the tab closes."
    />
  <//>`;
}
