/** A file of examples, read line by line in the browser: nothing is sent, and a large file needs little memory. */

import { MAX_LINE_BYTES, readLines, textOfLine } from "../../file_lines.js";
import { BadLine, readLine } from "./line_check.js";

const NUM_ROWS = 8;
const NUM_PROBLEMS = 50;
const MAX_LABELS = 1_000;

/** @typedef {{ number: number, line: import("./line_check.js").Line }} Row */
/** @typedef {{ number: number | null, text: string }} Problem `number` is the line's, from 1; null: of the file. */
/**
 * @typedef {object} Scan
 * @property {number} numLines Lines that are not blank.
 * @property {number} numExamples
 * @property {import("./line_check.js").Form | null} form
 * @property {Map<string, number>} labels How often each occurs; empty in other forms. The first thousand.
 * @property {Row[]} rows The first valid lines.
 * @property {Problem[]} problems The first ones.
 * @property {number} numProblems
 * @property {string[]} columns Keys without effect, the first ones.
 */

/**
 * Read a file to its end. Throws what reading throws, and `AbortError`.
 * @param {Blob} file
 * @param {{ signal: AbortSignal, onProgress?: (share: number) => void }} options
 * @returns {Promise<Scan>}
 */
export async function scanFile(file, { signal, onProgress }) {
  const scanner = new Scanner();
  await readLines(file.stream(), (bytes, number) => scanner.take(bytes, number), {
    signal,
    onBytes: (count) => onProgress?.(count / Math.max(1, file.size)),
  });
  return scanner.finish();
}

class Scanner {
  constructor() {
    /** @type {Scan} */
    this._scan = { numLines: 0, numExamples: 0, form: null, labels: new Map(), rows: [], problems: [], numProblems: 0, columns: [] };
  }

  /** True ends the reading. @param {Uint8Array} bytes @param {number} number */
  take(bytes, number) {
    if (bytes.length > MAX_LINE_BYTES) {
      this._note(number, `has more than ${MAX_LINE_BYTES} bytes, so nothing behind it was read`);
      return true;
    }
    const text = textOfLine(bytes, number);
    if (text === null) this._note(number, "is not UTF-8");
    else if (text.trim() !== "") this._takeText(text, number);
    return false;
  }

  /** @param {string} text @param {number} number */
  _takeText(text, number) {
    const scan = this._scan;
    scan.numLines += 1;
    try {
      const line = readLine(text);
      scan.form ??= line.form;
      if (line.form !== scan.form) throw new BadLine(`is in the ${line.form} form, but the lines before it are in the ${scan.form} form`);
      scan.numExamples += line.numExamples;
      if (line.form === "label" && (scan.labels.has(line.answer) || scan.labels.size < MAX_LABELS)) {
        scan.labels.set(line.answer, (scan.labels.get(line.answer) ?? 0) + 1);
      }
      if (scan.rows.length < NUM_ROWS) scan.rows.push({ number, line });
      for (const name of line.columns) {
        if (scan.columns.length < NUM_ROWS && !scan.columns.includes(name)) scan.columns.push(name);
      }
    } catch (error) {
      if (!(error instanceof BadLine)) throw error;
      this._note(number, error.message);
    }
  }

  finish() {
    const scan = this._scan;
    if (scan.numLines === 0 && scan.numProblems === 0) this._note(null, "The file has no examples.");
    if (scan.form === "label" && scan.labels.size === 1 && scan.numProblems === 0) {
      this._note(null, "Every example has the same label: nothing is to be told apart.");
    }
    if (scan.numProblems === 0 && scan.numExamples === 1) {
      this._note(null, "There is one example only: none can be held out. Add more.");
    }
    return scan;
  }

  /** @param {number | null} number @param {string} text */
  _note(number, text) {
    this._scan.numProblems += 1;
    if (this._scan.problems.length < NUM_PROBLEMS) this._scan.problems.push({ number, text });
  }
}
