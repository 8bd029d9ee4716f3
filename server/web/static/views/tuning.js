/** Tuning: examples become a soft prompt. `#/tuning` starts jobs and lists them, `#/tuning/ftjob-1` is one of them. */

import { ApiError } from "../api/errors.js";
import { ErrorNotice, Notice, Page, sentence } from "../parts/index.js";
import { html } from "../preact.js";
import { useFromStart } from "../router.js";
import { JobList } from "./tuning/job_list.js";
import { JobPage } from "./tuning/job_page.js";
import { NewJob } from "./tuning/new_job.js";
import { usePreview } from "./tuning/preview.js";

/** @param {import("../views.js").ViewProps} props */
export default function TuningView({ place }) {
  const [jobId] = place.path;
  useFromStart(jobId);
  return jobId === undefined ? html`<${Overview} />` : html`<${JobPage} key=${jobId} jobId=${jobId} />`;
}

function Overview() {
  const limits = usePreview("{}");
  const { error } = limits;
  const off = error instanceof ApiError && error.code === "not_ready" ? error : null;
  return html`<${Page} title="Tuning" lead="A job trains a soft prompt from examples, on the weights that serve. Its result is a version of a task.">
    ${off !== null && html`<${Notice} title="Nothing is tuned here">${sentence(off.message)}<//>`}
    ${off === null && html`
      <${ErrorNotice} error=${error} title="The server does not say what it accepts" onRetry=${limits.reload} />
      <${NewJob} defaults=${limits.data} />`}
    <${JobList} canStart=${off === null} />
  <//>`;
}
