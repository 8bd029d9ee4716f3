/** Rows and columns. On a narrow screen each row becomes a card, with the columns' titles before the values. */

import { html, useState } from "../preact.js";

/**
 * @template R
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: R) => import("../preact.js").Children} render
 * @property {boolean} [isNumber] Right, in figures of equal width.
 * @property {(row: R) => string | number | null} [sortBy] Its title then sorts the rows.
 */

/**
 * @template R
 * @param {{
 *   label: string, columns: Column<R>[], rows: R[], rowKey: (row: R) => string | number,
 *   empty?: import("../preact.js").Children, isSelected?: (row: R) => boolean,
 * }} props `label` names the table for screen readers. `empty` stands in its place without rows.
 */
export function Table({ label, columns, rows, rowKey, empty, isSelected }) {
  const [sorting, setSorting] = useState({ column: -1, isDescending: false });
  if (rows.length === 0 && empty !== undefined) return html`${empty}`;
  const sortBy = columns[sorting.column]?.sortBy;
  const shown = sortBy === undefined ? rows : sorted(rows, sortBy, sorting.isDescending);
  const sort = (/** @type {number} */ column) =>
    setSorting({ column, isDescending: sorting.column === column && !sorting.isDescending });
  return html`<div class="table-frame">
    <table aria-label=${label}>
      <thead>
        <tr>
          ${columns.map((column, index) => html`<th
            key=${index} scope="col" class=${column.isNumber ? "number" : ""}
            aria-sort=${index === sorting.column ? (sorting.isDescending ? "descending" : "ascending") : undefined}
          >
            ${column.sortBy === undefined ? column.title : html`<button type="button" class="sort" onClick=${() => sort(index)}>${column.title}</button>`}
          </th>`)}
        </tr>
      </thead>
      <tbody>
        ${shown.map((row) => html`<tr key=${rowKey(row)} class=${isSelected?.(row) ? "selected" : ""}>
          ${columns.map((column, index) => html`<td key=${index} data-title=${column.title} class=${column.isNumber ? "number" : ""}>
            ${column.render(row)}
          </td>`)}
        </tr>`)}
      </tbody>
    </table>
  </div>`;
}

/**
 * @template R
 * @param {R[]} rows @param {(row: R) => string | number | null} sortBy @param {boolean} isDescending
 */
function sorted(rows, sortBy, isDescending) {
  const factor = isDescending ? -1 : 1;
  return [...rows].sort((left, right) => {
    const [a, b] = [sortBy(left), sortBy(right)];
    if (a === b) return 0;
    if (a === null || b === null) return a === null ? 1 : -1; // rows without a value come last
    return (a < b ? -1 : 1) * factor;
  });
}
