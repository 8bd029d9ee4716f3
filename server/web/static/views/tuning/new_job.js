/** From a file of examples to a job: choose, look, name the task, start. */

import { Button, Choice, ErrorNotice, FileChoice, FileProgress, Notice, Panel, Row, Spinner, TextArea } from "../../parts/index.js";
import { html, useMemo } from "../../preact.js";
import { go, hrefOf } from "../../router.js";
import { useDraft } from "../../state/drafts.js";
import { useFile } from "../../state/files.js";
import { useModels } from "../../state/models.js";
import { useExamples, usePasted } from "./examples.js";
import { FileSummary } from "./file_summary.js";
import { usePreview } from "./preview.js";
import { jobBody, NO_SETTINGS, previewBody, SettingsFields, taskNameOf, TaskField } from "./settings.js";
import { useStart } from "./start.js";
import { Examples } from "./tokens.js";

/** @typedef {import("../../api/types.js").JobPreview} JobPreview */
/** @typedef {import("./examples.js").Examples} ChosenExamples */

const NUM_PREVIEWED = 3;
const MAX_PREVIEWED_CHARACTERS = 100_000;
const FORMS = html`JSONL: a line is <code>{"text": …, "label": …}</code>, <code>{"prompt": …, "completion": …}</code> or <code>{"messages": […]}</code>.`;
const SOURCES = [{ value: "file", label: "File" }, { value: "paste", label: "Paste" }];
/** Parameters whose errors stand at their fields. */
const FIELDS = /^(suffix|seed|template|manifest\.template|gate\.min_score|hyperparameters\..*)$/;

/** @param {{ defaults: JobPreview | null }} props */
export function NewJob({ defaults }) {
  const [source, setSource] = useDraft("tuning.source", "file");
  const [pasted, setPasted, forgetPasted] = useDraft("tuning.pasted", "");
  const chosen = useFile("tuning.training");
  const pastedFile = usePasted(pasted);
  const examples = useExamples(source === "file" ? chosen.file : pastedFile);
  const forget = () => (source === "file" ? chosen.choose(null) : forgetPasted());
  const maxBytes = defaults?.max_file_bytes ?? Infinity;
  return html`<${Panel} title="New job" note=${examples.file === null && "Nothing is sent before you start it."}>
    <${Choice} label="Where the examples are" isLabelHidden value=${source} onChange=${setSource} options=${SOURCES} />
    ${source === "file"
      ? html`<${ChooseFile} chosen=${chosen} label="Choose a file of examples" hint=${FORMS} examples=${examples} maxBytes=${maxBytes} />`
      : html`<${TextArea} label="Examples" hint=${FORMS} isMono rows=${6} value=${pasted} onInput=${setPasted}
        placeholder='{"text": "The soup was cold.", "label": "negative"}' spellcheck="false" />`}
    <${ReadingState} examples=${examples} />
    ${examples.scan && examples.file && html`<${FileSummary} scan=${examples.scan} name=${examples.file.name} />`}
    ${examples.scan?.numProblems === 0 && html`<${JobForm} examples=${examples} defaults=${defaults} onStarted=${forget} />`}
  <//>`;
}

/** @param {{ chosen: import("../../state/files.js").ChosenFile, label: string, hint: unknown, examples: ChosenExamples, maxBytes: number }} props */
const ChooseFile = ({ examples, ...props }) => html`<${FileChoice} ...${props} accept=".jsonl,.json,.ndjson,.txt"
  removeLabel=${examples.scan?.numProblems ? "Choose again" : "Remove"} />`;

/** @param {{ examples: ChosenExamples }} props */
function ReadingState({ examples }) {
  if (examples.error) return html`<${Notice} tone="bad"
    title="The file cannot be read">It may have changed or moved since it was chosen. Choose it again.<//>`;
  return html`<${FileProgress} label="Reading the file" verb="Reading" share=${examples.isBusy ? examples.share : null} />`;
}

/** @param {{ examples: ChosenExamples, defaults: JobPreview | null, onStarted: () => void }} props */
function JobForm({ examples, defaults, onStarted }) {
  const [settings, setSettings] = useDraft("tuning.settings", NO_SETTINGS);
  const models = useModels();
  const validation = useFile("tuning.validation");
  const held = useExamples(validation.file);
  const starting = useStart();
  const lines = usePreviewedLines(examples);
  const preview = usePreview(JSON.stringify({ ...previewBody(settings), examples: lines.map((line) => line.fields) }));
  const known = useMemo(() => (models.data?.tasks ?? []).map((model) => model.id), [models.data]);
  const change = (/** @type {typeof settings} */ next) => {
    starting.clear();
    setSettings(next);
  };
  const start = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (starting.isRunning || examples.file === null) return;
    const body = { model: preview.data?.model, ...jobBody(settings) };
    const job = await starting.run(body, examples.file, validation.file);
    if (job === undefined) return;
    onStarted();
    validation.choose(null);
    setSettings({ ...settings, task: "" });
    go(hrefOf("tuning", [job.id]));
  };
  const error = starting.error ?? preview.error;
  const isValid = preview.data !== null && !preview.error && (validation.file === null || held.scan?.numProblems === 0);
  const canStart = isValid && taskNameOf(settings.task) !== "";
  return html`<form class="tuning-form" onSubmit=${start}>
    <${Seen} preview=${preview} lines=${lines} />
    <${TaskField} settings=${settings} onChange=${change} error=${error} known=${known} />
    <details class="tuning-more" open=${FIELDS.test(paramOf(error)) && paramOf(error) !== "suffix" ? true : undefined}>
      <summary>Hyperparameters, template and more</summary>
      <div>
        <p class="hint">All are optional. An empty field takes the default that it shows.</p>
        <${SettingsFields} settings=${settings} onChange=${change} defaults=${preview.data ?? defaults} error=${error} />
        <${ChooseFile} chosen=${validation} label="Choose a validation file"
          hint="Its lines have the form of the examples. Without it, a tenth of the examples is held out." examples=${held}
          maxBytes=${defaults?.max_file_bytes ?? Infinity} />
        <${ReadingState} examples=${held} />
        ${held.scan && validation.file && html`<${FileSummary} scan=${held.scan} name=${validation.file.name} />`}
      </div>
    </details>
    ${!FIELDS.test(paramOf(starting.error)) && html`<${ErrorNotice} error=${starting.error} title="The job was not started" />`}
    <${FileProgress} label="Sending the file" verb="Sending" share=${starting.share} />
    <${Row}>
      <${Button} type="submit" kind="primary" icon="tuning" isBusy=${starting.isRunning}
        isDisabled=${!canStart && !starting.isRunning}>Start tuning<//>
      ${starting.isRunning && html`<${Button} icon="stop" onClick=${starting.stop}>Stop<//>`}
      ${taskNameOf(settings.task) === "" && html`<span class="hint">Name the task to start.</span>`}
    <//>
  </form>`;
}

/** @param {unknown} error */
const paramOf = (error) => (error !== null && typeof error === "object" && "param" in error ? String(error.param) : "");

/** The first lines, as far as they are short enough to be sent at each change of a setting. @param {ChosenExamples} examples */
function usePreviewedLines({ scan }) {
  return useMemo(() => {
    const lines = (scan?.rows ?? []).map((row) => row.line).filter((line) => JSON.stringify(line.fields).length < MAX_PREVIEWED_CHARACTERS);
    return lines.slice(0, NUM_PREVIEWED);
  }, [scan]);
}

/** @param {{ preview: ReturnType<typeof usePreview>, lines: unknown[] }} props */
function Seen({ preview, lines }) {
  const isRefused = preview.error !== null && !FIELDS.test(paramOf(preview.error));
  return html`<section class="tuning-seen">
    <h3>What the model will see</h3>
    ${isRefused && html`<${ErrorNotice} error=${preview.error} title="The first lines cannot be shown" onRetry=${preview.reload} />`}
    ${lines.length === 0 && html`<p class="hint">The first lines are too long to be shown here.</p>`}
    ${preview.data === null
      ? !preview.error && html`<${Spinner} label="Asking the server" />`
      : html`<${Examples}
          numVirtual=${preview.data.hyperparameters.num_virtual_tokens} maxLength=${preview.data.max_model_len}
          examples=${preview.data.examples.map(({ label, tokens }, index) => ({ title: `Example ${index + 1}${label ? ` · ${label}` : ""}`, tokens }))}
        />`}
  </section>`;
}
