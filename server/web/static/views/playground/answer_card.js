/** An answer on the page: its text token by token, or what a head says; and what it took. */

import { duration, number, percent } from "../../format.js";
import { Badge, Bars, ErrorNotice, Panel, Spinner } from "../../parts/index.js";
import { html, useState } from "../../preact.js";
import { ItemView } from "./item.js";

/** @typedef {import("./answer.js").Answer} Answer */
/** @typedef {import("./request.js").Token} Token */

const REASONS = { stop: "ended by itself", length: "cut at the maximum number of tokens" };

/** @param {{ answer: Answer }} props */
export function AnswerCard({ answer }) {
  const isEmpty = answer.tokens.length === 0 && answer.item === null;
  return html`<${Panel}
    title=${answer.model}
    note=${answer.version !== null && `version ${answer.version}`}
    actions=${answer.state === "stopped" && html`<${Badge} tone="warn">stopped<//>`}
  >
    ${answer.state === "running" && isEmpty && html`<${Spinner} label="Waiting" />`}
    ${answer.state === "done" && isEmpty && html`<p class="hint">The answer is empty.</p>`}
    ${answer.tokens.length > 0 && html`<${Tokens} tokens=${answer.tokens} isRunning=${answer.state === "running"} />`}
    ${answer.item && html`<${ItemView} item=${answer.item} text=${answer.text} />`}
    <${ErrorNotice} error=${answer.error} />
    <${Measures} answer=${answer} />
  <//>`;
}

/** @param {{ tokens: Token[], isRunning: boolean }} props */
function Tokens({ tokens, isRunning }) {
  const [picked, setPicked] = useState(/** @type {number | null} */ (null));
  const token = picked === null ? undefined : tokens[picked];
  return html`
    <p class="playground-answer" aria-live="polite" aria-busy=${isRunning ? "true" : "false"} onMouseLeave=${() => setPicked(null)}>
      ${tokens.map((one, index) => one.logprob === null
        ? one.text
        : html`<span
            key=${index} class=${`playground-token ${sureness(one.logprob)} ${index === picked ? "picked" : ""}`}
            onMouseEnter=${() => setPicked(index)} onClick=${() => setPicked(index)}
          >${one.text}</span>`)}
    </p>
    ${tokens.some((one) => one.logprob !== null) && html`<${Alternatives} token=${token} tokens=${tokens} onPick=${setPicked} picked=${picked} />`}
  `;
}

/** How sure the model was, for the underline. @param {number} logprob */
function sureness(logprob) {
  const probability = Math.exp(logprob);
  return probability >= 0.9 ? "sure" : probability >= 0.5 ? "fair" : "unsure";
}

/** The picked token beside what else could have come. A slider picks by keyboard. @param {{ token: Token | undefined, tokens: Token[], picked: number | null, onPick: (index: number) => void }} props */
function Alternatives({ token, tokens, picked, onPick }) {
  return html`<details class="playground-logprobs" open=${picked !== null}>
    <summary>Log-probabilities</summary>
    <label class="hint">Token <input
      type="range" min="0" max=${tokens.length - 1} value=${picked ?? 0} aria-valuetext=${JSON.stringify(tokens[picked ?? 0].text)}
      onInput=${(/** @type {any} */ event) => onPick(Number(event.target.value))}
    /></label>
    ${token && html`<${Bars}
      label="What could have come here"
      bars=${[...token.alternatives].sort((a, b) => b.logprob - a.logprob).map((one) => ({ name: visible(one.text), value: Math.exp(one.logprob), note: `log ${one.logprob.toFixed(2)}` }))}
      highlighted=${visible(token.text)}
    />`}
    ${token && !token.alternatives.some((one) => one.text === token.text) && html`<p class="hint">
      Chosen: ${visible(token.text)}, ${percent(Math.exp(token.logprob ?? 0))}
    </p>`}
  </details>`;
}

/** Spaces and line ends as signs. @param {string} text */
const visible = (text) => text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5") || "\u2205";

/** @param {{ answer: Answer }} props */
function Measures({ answer }) {
  const cached = answer.usage?.prompt_tokens_details?.virtual_tokens ?? 0;
  const parts = [
    answer.firstTokenMs !== null && `${answer.item ? "answer" : "first token"} after ${duration(answer.firstTokenMs)}`,
    answer.tokensPerSecond !== null && `${number(Math.round(answer.tokensPerSecond))} tokens/s`,
    answer.usage && `${answer.usage.prompt_tokens} prompt tokens${answer.item ? "" : `, ${answer.usage.completion_tokens} generated`}`,
    cached > 0 && `${cached} virtual tokens`,
    answer.finishReason && (REASONS[/** @type {keyof typeof REASONS} */ (answer.finishReason)] ?? answer.finishReason),
  ].filter(Boolean);
  return parts.length > 0 && html`<p class="hint">${parts.join(" · ")}</p>`;
}
