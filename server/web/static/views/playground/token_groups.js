/** Labelled tokens as parts of their text: neighbours of one label together, and what stands between them. */

/** @typedef {import("../../api/types.js").Schemas["LabelledToken"]} LabelledToken */
/** @typedef {{ text: string, label: string | null, score: number }} Group `label` is null between tokens. `score` is the lowest of its tokens. */

/** The label of tokens that belong to nothing, by the custom of named entities. */
export const OUTSIDE = "O";
const PLACE_IN_ENTITY = /^([BI])-/;

/** @param {string | null} label */
export const isOutside = (label) => label === OUTSIDE;

/**
 * The whole text, part by part. `B-` begins a part of its own, and `I-` goes on with the part before it.
 * @param {LabelledToken[]} tokens In the order of the text.
 * @param {string} text
 * @returns {Group[]}
 */
export function groupsOf(tokens, text) {
  const letters = [...text]; // places are counted in characters, not in halves of surrogate pairs
  const between = (/** @type {number} */ start, /** @type {number} */ end) => letters.slice(start, end).join("");
  /** @type {Group[]} */
  const groups = [];
  let end = 0;
  for (const token of tokens) {
    const label = token.label.replace(PLACE_IN_ENTITY, "");
    const shown = between(Math.max(end, token.start), token.end); // nothing of a second token of one character
    const text = shown.trimStart(); // many vocabularies count the space to the word behind it
    const gap = between(end, token.start) + shown.slice(0, shown.length - text.length);
    const last = groups.at(-1);
    end = Math.max(end, token.end);
    if (last?.label === label && gap.trim() === "" && !token.label.startsWith("B-")) {
      last.text += gap + text;
      last.score = Math.min(last.score, token.score);
    } else {
      if (gap !== "") groups.push({ text: gap, label: null, score: 1 });
      if (text !== "") groups.push({ text, label, score: token.score });
    }
  }
  if (end < letters.length) groups.push({ text: between(end, letters.length), label: null, score: 1 });
  return groups;
}
