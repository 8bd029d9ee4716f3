/** Held-out lines and typed inputs, answered by the new version, by the one in production and by the bare base model. */

import { number } from "../../format.js";
import { Badge, Button, ErrorNotice, Notice, Panel, Row, Spinner, Table, TextArea } from "../../parts/index.js";
import { html, useEffect, useRef, useState } from "../../preact.js";
import { useMay } from "../../state/caller.js";
import { useDraft } from "../../state/drafts.js";
import { useLoad } from "../../state/requests.js";
import { answerAll, hasHead, loadHeldOut, loadManifest } from "./answers.js";
import { shortened } from "./file_summary.js";

/** @typedef {import("../../api/types.js").Job} Job */
/** @typedef {import("./answers.js").Question} Question */
/** @typedef {import("./answers.js").Target} Target */
/** @typedef {{ answers: (string | null)[], error: unknown, isRunning: boolean }} Column */

/** @param {{ job: Job, events: import("../../api/types.js").JobEvent[], production: number | null }} props `production` is its version. */
export function Compare({ job, events, production }) {
  const mayAsk = useMay("infer");
  const mayRead = useMay("tasks:read");
  const [typed, setTyped] = useDraft(`tuning.compare.${job.id}`, "");
  const [asked, setAsked] = useState(/** @type {string[]} */ ([]));
  const heldOut = useLoad((signal) => loadHeldOut(job, events, signal), [job.id]);
  const manifest = useLoad((signal) => (mayRead ? loadManifest(job, signal) : Promise.resolve(null)), [job.id, mayRead]);
  if (!mayAsk) return html`<${Panel} title="Compare"><p class="hint">Asking the version needs a key with the scope "infer".</p><//>`;
  if (heldOut.isLoading && heldOut.data === null) return html`<${Panel} title="Compare"><${Spinner} label="Reading held-out lines" /><//>`;
  const questions = [...asked.map((input) => ({ input, expected: null, messages: null })), ...(heldOut.data ?? [])];
  const labels = manifest.data?.labels ?? job.labels;
  const add = () => {
    if (typed.trim() === "") return;
    setAsked([typed, ...asked]);
    setTyped("");
  };
  return html`<${Panel} title="Compare" note=${`The same inputs for the new version${hasHead(job) ? " and for the one in production" : ", for the one in production, and for the bare base model"}.`}>
    ${heldOut.error && html`<${Notice}>The held-out lines cannot be read: the file may be deleted. Type inputs of your own.<//>`}
    <div class="tuning-ask">
      <${TextArea} label="An input of your own" rows=${2} value=${typed} onInput=${setTyped} onSubmit=${add} />
      <${Button} icon="plus" onClick=${add} isDisabled=${typed.trim() === ""}>Ask all<//>
    </div>
    ${labels.length > 0 && html`<p class="hint">Each answer is the likeliest of the ${number(labels.length)} labels.</p>`}
    ${questions.length > 0 && !manifest.isLoading && html`<${Answers} job=${job} production=${production} questions=${questions}
      labels=${labels} maxTokens=${manifest.data?.maxTokens ?? null} />`}
  <//>`;
}

/** @param {{ job: Job, production: number | null, questions: Question[], labels: string[], maxTokens: number | null }} props */
function Answers({ job, production, questions, labels, maxTokens }) {
  /** @type {Target[]} */
  const targets = [
    { title: `Version ${job.version}`, model: `${job.task}@${job.version}`, isBase: false },
    ...(production !== null && production !== job.version ? [{ title: "Production", model: `${job.task}@${production}`, isBase: false }] : []),
    ...(hasHead(job) ? [] : [{ title: "Base model", model: job.model, isBase: true }]),
  ];
  const settings = { job, labels, maxTokens };
  const { columns, ask } = useAnswers(targets, questions, (target, open, signal) => answerAll(target, open, settings, signal));
  /** @typedef {Question & { index: number }} Asked */
  /** @type {import("../../parts/table.js").Column<Asked>[]} */
  const shown = [
    { title: "Input", render: (row) => html`<${Text} text=${row.input} />` },
    { title: "Expected", render: (row) => (row.expected === null ? html`<span class="hint">yours</span>` : html`<${Text} text=${row.expected} />`) },
    ...targets.map((target, place) => ({
      title: target.title,
      render: (/** @type {Asked} */ row) => html`<${AnswerCell} column=${columns[place]} index=${row.index} expected=${row.expected} />`,
    })),
  ];
  return html`
    <div class="tuning-rows answers" aria-live="polite">
      <${Table}
        label="Answers side by side" columns=${shown} rows=${questions.map((question, index) => ({ ...question, index }))}
        rowKey=${(/** @type {Asked} */ row) => row.index}
      />
    </div>
    ${columns.map((column, place) => html`<${ErrorNotice}
      key=${targets[place].model} error=${column.error} title=${`${targets[place].title} did not answer`} onRetry=${ask}
    />`)}
    <${Row}>
      ${targets.map((target, place) => html`<span key=${target.model} class="hint">${target.title}: ${rightOf(columns[place], questions)}</span>`)}
    <//>
  `;
}

/** @param {{ text: string }} props */
const Text = ({ text }) => html`<span class="tuning-text">${shortened(text)}</span>`;

/** @param {Column} column @param {Question[]} questions */
function rightOf(column, questions) {
  const scored = questions.map(({ expected }, index) => ({ expected, answer: column.answers[index] ?? null }));
  const counted = scored.filter(({ expected, answer }) => expected !== null && answer !== null);
  return counted.length === 0 ? "–" : `${counted.filter(({ expected, answer }) => expected === answer).length} of ${counted.length} right`;
}

/** @param {{ column: Column, index: number, expected: string | null }} props */
function AnswerCell({ column, index, expected }) {
  const answer = column.answers[index] ?? null;
  if (answer === null && !column.isRunning) return "–";
  if (answer === null) return html`<span class="spinner" role="img" aria-label="Waiting"></span>`;
  const text = answer === "" ? html`<span class="hint">empty</span>` : html`<${Text} text=${answer} />`;
  if (expected === null) return text;
  return html`${text} <${Badge} tone=${answer === expected ? "good" : "bad"}>${answer === expected ? "right" : "wrong"}<//>`;
}

/**
 * The answers of each target. A question that was answered is not asked again, unless the targets change.
 * @param {Target[]} targets @param {Question[]} questions
 * @param {(target: Target, questions: Question[], signal: AbortSignal) => Promise<string[]>} answer
 */
function useAnswers(targets, questions, answer) {
  const [attempt, setAttempt] = useState(0);
  const [columns, setColumns] = useState(targets.map(() => /** @type {Column} */ ({ answers: [], error: null, isRunning: true })));
  const known = useRef(/** @type {Map<string, string>} */ (new Map()));
  const key = JSON.stringify([targets, questions]);
  useEffect(() => {
    const controller = new AbortController();
    const idOf = (/** @type {Target} */ { model }, /** @type {Question} */ { input, messages }) => JSON.stringify([model, input, messages]);
    const answersOf = (/** @type {Target} */ target) => questions.map((question) => known.current.get(idOf(target, question)) ?? null);
    setColumns(targets.map((target) => ({ answers: answersOf(target), error: null, isRunning: true })));
    targets.forEach(async (target, place) => {
      const open = questions.filter((question) => !known.current.has(idOf(target, question)));
      /** @type {unknown} */
      let error = null;
      try {
        const texts = open.length === 0 ? [] : await answer(target, open, controller.signal);
        open.forEach((question, index) => known.current.set(idOf(target, question), texts[index]));
      } catch (failure) {
        error = failure;
      }
      if (!controller.signal.aborted) setColumns((earlier) => earlier.with(place, { answers: answersOf(target), error, isRunning: false }));
    });
    return () => controller.abort();
  }, [key, attempt]);
  const empty = /** @type {Column} */ ({ answers: [], error: null, isRunning: true });
  return { columns: targets.map((_, place) => columns[place] ?? empty), ask: () => setAttempt((number) => number + 1) };
}
