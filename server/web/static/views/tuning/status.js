/** What the status of a job means. */

/** @typedef {import("../../api/types.js").Job} Job */

const TEXTS = {
  validating_files: "checking the file",
  queued: "waiting",
  running: "running",
  paused: "paused",
  succeeded: "succeeded",
  failed: "failed",
  cancelled: "cancelled",
};
/** @type {Partial<Record<Job["status"], "good" | "bad" | "warn" | "accent" | "info">>} */
const TONES = { succeeded: "good", failed: "bad", cancelled: "warn", paused: "info", running: "accent", validating_files: "accent" };

/** @param {Job} job */
export const statusText = (job) => TEXTS[job.status];

/** @param {Job} job */
export const toneOf = (job) => TONES[job.status] ?? "plain";

/** Whether a job changes no more by itself. @param {Job} job */
export const hasEnded = (job) => ["succeeded", "failed", "cancelled"].includes(job.status);

/** Whether a server works on a job, or will. @param {Job} job */
export const isActive = (job) => ["validating_files", "queued", "running"].includes(job.status);

/** What to do about a failure, by its code. The server's message says why it happened. */
/** @type {Record<string, string>} */
const ADVICE = {
  bad_line: "Correct the line in the file, then start a new job.",
  mixed_forms: "Write every line in the same form, or start one job per form.",
  not_utf8: "Save the file as UTF-8, then start a new job.",
  empty_file: "Choose another file.",
  single_class: "Add examples of another label.",
  too_few_examples: "Add examples, or give a validation file.",
  example_too_long: "Shorten the example, or use fewer virtual tokens.",
  token_out_of_range: "Remove the characters that the base model does not know.",
  unknown_label: "Name all labels, or correct the line.",
  leakage: "Use a validation file whose inputs are not in the training file.",
  diverged: "Start a new job with a lower learning rate, or with the learning rate auto.",
  out_of_memory: "Use fewer virtual tokens, fewer examples per step or shorter examples, then start a new job.",
  server_stopped: "Change what the message names, then start a new job.",
  task_deleted: "Somebody deleted the task. Resuming the job creates it anew.",
  task_taken: "Start a new job with another task name.",
  task_read_only: "Start a new job with another task name, or publish from the folder.",
  file_not_found: "The file was deleted. Choose it again in a new job.",
  internal_error: "Resume the job. If it fails again, the server's log has the cause.",
};

/** @param {string} code */
export const adviceFor = (code) => ADVICE[code] ?? "Correct what the message names, then start a new job.";
