/** The KV cache as squares, coloured by who holds them. */

import { number, percent } from "../../format.js";
import { html } from "../../preact.js";

/** @typedef {import("../../api/types.js").Schemas["KvBlocks"]} KvBlocks */
/** @typedef {import("../../api/types.js").Schemas["BlockHolder"]} BlockHolder */

const MAX_CELLS = 480;
const CELLS_PER_ROW = 40;
const SIZE = 10;
const GAP = 2;
const NUM_COLOURS = 7;
const WORDS = { prefix: "soft prompt", sequence: "running text", cached: "text that can be shared", free: "free" };

/** @param {{ blocks: KvBlocks }} props */
export function BlockMap({ blocks }) {
  const cells = cellsOf(blocks);
  const rows = Math.ceil(cells.length / CELLS_PER_ROW);
  const used = blocks.total - blocks.free;
  const per = blocks.total / Math.max(1, cells.length);
  return html`<figure class="engine-blocks">
    <svg viewBox=${`0 0 ${CELLS_PER_ROW * (SIZE + GAP) - GAP} ${rows * (SIZE + GAP) - GAP}`} role="img" aria-label=${`${number(used)} of ${number(blocks.total)} KV blocks are held`}>
      ${cells.map((holder, index) => html`<rect
        key=${index} class=${classOf(holder)} width=${SIZE} height=${SIZE} rx="2"
        x=${(index % CELLS_PER_ROW) * (SIZE + GAP)} y=${Math.floor(index / CELLS_PER_ROW) * (SIZE + GAP)}
      ><title>${nameOf(holder)}</title></rect>`)}
    </svg>
    <figcaption>
      <p>${number(used)} of ${number(blocks.total)} blocks held (${percent(used / Math.max(1, blocks.total), 0)})${per > 1 ? `; a square is ${number(Math.round(per))} blocks` : ""}</p>
      <ul class="engine-holders">
        ${blocks.holders.map((holder) => html`<li key=${keyOf(holder)}>
          <span class=${`engine-swatch ${classOf(holder)}`} aria-hidden="true"></span>
          <span class="engine-holder">${nameOf(holder)}</span>
          <span class="engine-count">${number(holder.blocks)}</span>
        </li>`)}
      </ul>
    </figcaption>
  </figure>`;
}

/**
 * A holder for each square. Squares are shared out by the sums so far, so that rounding never adds up; who holds anything has one.
 * @param {KvBlocks} blocks @returns {BlockHolder[]}
 */
export function cellsOf(blocks) {
  const count = Math.min(blocks.total, MAX_CELLS);
  const holders = blocks.holders.filter((holder) => holder.blocks > 0);
  /** @type {BlockHolder[]} */
  const cells = [];
  let sum = 0;
  for (const [index, holder] of holders.entries()) {
    sum += holder.blocks;
    const rest = holders.length - 1 - index;
    const end = Math.min(count - rest, Math.max(cells.length + 1, Math.round((sum / blocks.total) * count)));
    while (cells.length < end) cells.push(holder);
  }
  return cells;
}

/** @param {BlockHolder} holder */
function classOf(holder) {
  if (holder.kind === "free" || holder.kind === "cached") return `engine-${holder.kind}`;
  const colour = holder.task === null ? "other" : colourOf(holder.task);
  return `engine-${holder.kind} engine-colour-${colour}`;
}

/** The colour of each task, in the order in which they came: neighbours differ, and a task keeps its own. @type {Map<string, number>} */
const colours = new Map();

/** @param {string} task */
function colourOf(task) {
  if (!colours.has(task)) colours.set(task, (colours.size % NUM_COLOURS) + 1);
  return colours.get(task);
}

/** @param {BlockHolder} holder */
const nameOf = (holder) => {
  if (holder.kind === "free" || holder.kind === "cached") return WORDS[holder.kind];
  return `${holder.task ?? "others"}: ${WORDS[holder.kind]}`;
};

/** @param {BlockHolder} holder */
const keyOf = (holder) => `${holder.kind} ${holder.digest ?? ""} ${holder.task ?? ""}`;
