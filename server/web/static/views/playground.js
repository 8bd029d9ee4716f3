/** Ask tasks, versions and the bare base model the same thing, side by side. */

import { Button, Checkbox, Choice, Code, Columns, Empty, ErrorNotice, fieldError, Notice, NumberField, Page, Panel, Row, Spinner, Tabs, TextArea } from "../parts/index.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { useDraft } from "../state/drafts.js";
import { key } from "../state/key.js";
import { useModels } from "../state/models.js";
import { fetchAnswer, newAnswer } from "./playground/answer.js";
import { AnswerCard } from "./playground/answer_card.js";
import { commonKinds, KINDS, kindsOf, useModelsOf } from "./playground/kinds.js";
import { askOf } from "./playground/request.js";
import { curl, python, typescript } from "./playground/snippets.js";
import { modelsOf, referenceOf, Targets } from "./playground/targets.js";

/** @typedef {import("./playground/kinds.js").Kind} Kind */
/** @typedef {import("./playground/answer.js").Answer} Answer */

export default function PlaygroundView() {
  const models = useModels();
  return html`<${Page} title="Playground" lead="The same input for several tasks at once: they run in one batch, on one set of weights.">
    <${ErrorNotice} error=${models.error} title="The models could not be listed" onRetry=${models.reload} />
    ${models.data === null ? models.isLoading && html`<${Spinner} label="Loading the models" />` : html`<${Asking} models=${models.data} />`}
  <//>`;
}

/** @param {{ models: NonNullable<ReturnType<typeof useModels>["data"]> }} props */
function Asking({ models }) {
  const first = models.tasks[0] ?? modelsOf(models)[0] ?? null;
  const [wanted, setWanted] = useDraft("playground.kind", /** @type {Kind} */ ("complete"));
  const [input, setInput] = useDraft("playground.input", "");
  const [question, setQuestion] = useDraft("playground.question", "");
  const [draft, setTargets] = useDraft("playground.targets", [{ name: "", at: "" }]);
  const targets = draft.map((target) => (target.name === "" ? { name: first?.id ?? "", at: "" } : target));
  const [sampling, setSampling] = useDraft("playground.sampling", { maxTokens: "", temperature: "", hasLogprobs: true });
  const { answers, asked, isRunning, ask, stop } = useAnswers();
  const [isWaiting, setIsWaiting] = useState(false); // asked before it was known what the chosen tasks answer
  const references = targets.map(referenceOf);
  const chosen = useModelsOf(references);
  const kinds = chosen.models === null ? KINDS.slice(0, 1) : commonKinds(chosen.models);
  const kind = kinds.find(({ value }) => value === wanted) ?? kinds[0] ?? null;
  const isReady = kind !== null && input !== "" && (kind.value !== "answer" || question !== "");
  const isText = kind?.value === "complete" || kind?.value === "chat";
  const run = () => {
    if (!isReady || isRunning) return;
    setIsWaiting(chosen.isLoading);
    if (!chosen.isLoading) ask(references.map((model) => ({ model, text: input, ask: askOf(kind.value, model, { input, question }, sampling) })));
  };
  useEffect(() => {
    if (!isWaiting || chosen.isLoading) return;
    setIsWaiting(false);
    run();
  }, [isWaiting, chosen.isLoading]);
  if (first === null) return html`<${NobodyToAsk} base=${models.base} />`;

  const error = answers.find((answer) => answer.error)?.error;
  return html`
    <${Panel}>
      ${kinds.length > 1 && html`<${Choice} label="What to do" isLabelHidden value=${kind?.value} onChange=${setWanted} options=${kinds} />`}
      <${Targets} targets=${targets} onChange=${setTargets} models=${models} />
      ${kind === null && html`<${NothingInCommon} references=${references} models=${chosen.models ?? []} />`}
      ${kind?.value === "answer" && html`<${TextArea} label="Question" value=${question} onInput=${setQuestion} onSubmit=${run} rows=${1} placeholder="Type what to find in the input" />`}
      <${TextArea} label="Input" value=${input} onInput=${setInput} onSubmit=${run} rows=${3} placeholder="Type what the task should read" />
      ${isText && html`<div class="playground-sampling">
        <${NumberField} label="Maximum tokens" value=${sampling.maxTokens} onInput=${(/** @type {string} */ maxTokens) => setSampling({ ...sampling, maxTokens })} placeholder="default" error=${fieldError(error, "max_tokens")} />
        <${NumberField} label="Temperature" value=${sampling.temperature} onInput=${(/** @type {string} */ temperature) => setSampling({ ...sampling, temperature })} placeholder="default" error=${fieldError(error, "temperature")} />
        <${Checkbox} label="Log-probabilities" isChecked=${sampling.hasLogprobs} onChange=${(/** @type {boolean} */ hasLogprobs) => setSampling({ ...sampling, hasLogprobs })} />
      </div>`}
      <${Row}>
        <${Button} kind="primary" icon="playground" onClick=${run} isBusy=${isRunning || isWaiting} isDisabled=${!isReady}>${kind?.verb ?? "Ask"}<//>
        ${isRunning && html`<${Button} icon="stop" onClick=${stop}>Stop<//>`}
        <span class="hint">or Ctrl and Enter in the input</span>
      <//>
    <//>
    ${answers.length > 0 && html`<${Columns} min=${300}>${answers.map((answer, index) => html`<${AnswerCard} key=${index} answer=${answer} />`)}<//>`}
    ${asked !== null && html`<${Snippets} ask=${asked} />`}
  `;
}

/** @param {{ base: import("../api/types.js").Model | null }} props */
const NobodyToAsk = ({ base }) => html`<${Empty} title="Nothing can be asked">
  ${base === null
    ? "The key allows no task that has a version in production."
    : html`The base model <code>${base.id}</code> is an encoder, which answers nothing alone. Publish a task with a head first.`}
<//>`;

/** @param {{ references: string[], models: (import("../api/types.js").Model | null)[] }} props */
const NothingInCommon = ({ references, models }) => html`<${Notice} tone="warn" title="These cannot be asked the same thing">
  ${references.map((reference, index) => html`<p key=${index}><code>${reference}</code>: ${wordsOf(models[index] ?? null)}</p>`)}
<//>`;

/** @param {import("../api/types.js").Model | null} model */
function wordsOf(model) {
  const labels = KINDS.filter(({ value }) => kindsOf(model).includes(value)).map(({ label }) => label.toLowerCase());
  return labels.length === 0 ? "answers nothing alone" : labels.join(", ");
}

/** @typedef {{ model: string, text: string, ask: import("./playground/request.js").Ask }} Question */

/** The answers to the last questions, as they come. Leaving the view ends them. */
function useAnswers() {
  const [answers, setAnswers] = useState(/** @type {Answer[]} */ ([]));
  const [asked, setAsked] = useState(/** @type {import("./playground/request.js").Ask | null} */ (null));
  const controller = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => controller.current?.abort(), []);
  const ask = (/** @type {Question[]} */ questions) => {
    const { signal } = (controller.current = new AbortController());
    setAsked(questions[0].ask);
    const begun = questions.map(({ model, text }) => newAnswer(model, text));
    setAnswers(begun);
    questions.forEach(({ ask: one }, index) => {
      void fetchAnswer(begun[index], one, signal, (answer) => setAnswers((earlier) => earlier.with(index, answer)));
    });
  };
  const isRunning = answers.some((answer) => answer.state === "running");
  return { answers, asked, isRunning, ask, stop: () => controller.current?.abort() };
}

/** @param {{ ask: import("./playground/request.js").Ask }} props */
function Snippets({ ask }) {
  const [language, setLanguage] = useDraft("playground.language", "curl");
  const hasKey = key.value !== null;
  const tabs = [
    { id: "curl", title: "curl", content: () => html`<${Code} label="For a terminal" text=${curl(ask, hasKey)} />` },
    { id: "python", title: "Python", content: () => html`<${Code} label="Python" text=${python(ask, hasKey)} />` },
    { id: "typescript", title: "TypeScript", content: () => html`<${Code} label="TypeScript" text=${typescript(ask, hasKey)} />` },
  ];
  return html`<${Panel} title="The same from your code"><${Tabs} label="Language" tabs=${tabs} selected=${language} onSelect=${setLanguage} /><//>`;
}
