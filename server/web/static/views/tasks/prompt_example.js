/** The template around an example, and the tokens that the model sees of it. */

import { post } from "../../api/client.js";
import { counted, number } from "../../format.js";
import { ErrorNotice, Panel, TextArea } from "../../parts/index.js";
import { html, useEffect, useRef, useState } from "../../preact.js";
import { useDraft } from "../../state/drafts.js";
import { useLoad } from "../../state/requests.js";

/** @typedef {import("../../api/types.js").Version} Version */
/** @typedef {import("../../api/types.js").Schemas["TokenizeResult"]} TokenizeResult */
/** @typedef {{ result: TokenizeResult, text: string }} Seen */

const INPUT_MARK = "{input}";
const PAUSE_MS = 300;
const SHOWN_TOKENS = 160;
const SHOWN_VIRTUAL = 40;

/** @param {{ task: string, version: Version, mayInfer: boolean }} props Without the scope `infer` there are no tokens. */
export function PromptExample({ task, version, mayInfer }) {
  const [example, setExample] = useDraft(`tasks.example.${task}`, "");
  const [before, after] = partsOf(version.manifest.template);
  return html`<${Panel} title="What the model sees" note="The soft prompt, then the template with the input in it.">
    <${TextArea} label="Example input" value=${example} onInput=${setExample} rows=${2} placeholder="Type an example" />
    <div>
      <p class="tasks-label" id="tasks-prompt">The prompt</p>
      <pre class="tasks-prompt" tabindex="0" aria-labelledby="tasks-prompt">${before}<mark>${example === "" ? INPUT_MARK : example}</mark>${after}</pre>
    </div>
    ${mayInfer
      ? html`<${Tokens} model=${`${task}@${version.version}`} text=${example} isText=${!version.task_type} />`
      : html`<p class="hint">The key lacks the scope infer, which shows the tokens.</p>`}
  <//>`;
}

/** @param {{ model: string, text: string, isText: boolean }} props */
function Tokens({ model, text, isText }) {
  const prompt = usePaused(text);
  const { data, error, reload } = useLoad((signal) => readTokens(model, prompt, signal), [model, prompt]);
  const last = useRef(/** @type {Seen | null} */ (null));
  last.current = data ?? last.current;
  const seen = last.current; // while the next is read, so that nothing jumps
  return html`<div class="tasks-tokens">
    <${ErrorNotice} error=${error} title="The tokens could not be read" onRetry=${reload} />
    <p role="status">${seen === null ? "Counting the tokens" : sum(seen.result, isText)}</p>
    ${seen !== null && html`
      <p class="tasks-strip" aria-hidden="true">
        ${Array.from({ length: Math.min(SHOWN_VIRTUAL, seen.result.num_virtual_tokens) }, (_, index) => html`<span key=${index} class="virtual"></span>`)}
        ${seen.result.num_virtual_tokens > SHOWN_VIRTUAL && html`<span class="more">+${seen.result.num_virtual_tokens - SHOWN_VIRTUAL}</span>`}
        ${seen.result.tokens.slice(0, SHOWN_TOKENS).map((token, index) => html`<span key=${`t${index}`} class="token">${token}</span>`)}
        ${seen.result.count > SHOWN_TOKENS && html`<span class="more">+${number(seen.result.count - SHOWN_TOKENS)}</span>`}
      </p>
      <div>
        <p class="tasks-label" id="tasks-seen">The tokens as text, special ones included</p>
        <pre class="tasks-prompt" tabindex="0" aria-labelledby="tasks-seen">${seen.text}</pre>
      </div>`}
  </div>`;
}

/** @param {TokenizeResult} result @param {boolean} isText Whether the answer is text, which needs room. */
function sum({ num_virtual_tokens: virtual, count, max_model_len: max }, isText) {
  const room = max - virtual - count;
  const left = !isText && room >= 0 ? `${number(room)} are left` : room > 0 ? `${number(room)} are left for the answer` : `there is no room for ${isText ? "an answer" : "all of it"}`;
  return `${counted(virtual, "virtual token")} and ${counted(count, "token")} of text: ${number(virtual + count)} of ${number(max)}; ${left}.`;
}

/** A text once nobody types any more. @param {string} text */
function usePaused(text) {
  const [paused, setPaused] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setPaused(text), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return paused;
}

/** @param {string} model @param {string} prompt @param {AbortSignal} signal @returns {Promise<Seen>} */
async function readTokens(model, prompt, signal) {
  /** @type {TokenizeResult} */
  const result = await post("/tokenize", { model, prompt }, { signal });
  /** @type {{ prompt: string }} */
  const { prompt: text } = await post("/detokenize", { model, tokens: result.tokens }, { signal });
  return { result, text };
}

/** @param {string | null} template @returns {[string, string]} */
function partsOf(template) {
  if (template === null) return ["", ""];
  const at = template.indexOf(INPUT_MARK);
  return [template.slice(0, at), template.slice(at + INPUT_MARK.length)];
}
