/** The metrics of a version, beside those of the version in production. */

import { Panel, Table } from "../../parts/index.js";
import { html } from "../../preact.js";

/** @typedef {import("../../api/types.js").Version} Version */
/** @typedef {{ name: string, value: unknown, other: unknown }} Metric */

/** @param {{ version: Version, production: Version | null }} props */
export function Metrics({ version, production }) {
  const own = flat(version.manifest.metrics);
  if (own.size === 0) {
    return html`<${Panel} title="Metrics"><p class="hint">Nobody said how good it is. A tuning job writes its scores here; a publisher may too.</p><//>`;
  }
  const others = production === null ? new Map() : flat(production.manifest.metrics);
  const rows = [...own].map(([name, value]) => ({ name, value, other: others.get(name) }));
  /** @type {import("../../parts/table.js").Column<Metric>[]} */
  const columns = [
    { title: "Metric", render: (row) => html`<code>${row.name}</code>`, sortBy: (row) => row.name },
    { title: "This version", render: (row) => shown(row.value), isNumber: true },
  ];
  if (production !== null) {
    columns.push(
      { title: "Production", render: (row) => (row.other === undefined ? "–" : shown(row.other)), isNumber: true },
      { title: "Difference", render: (row) => difference(row), isNumber: true },
    );
  }
  return html`<${Panel} title="Metrics" note=${noteOf(production)} isFlush>
    <${Table} label="Metrics" columns=${columns} rows=${rows} rowKey=${(/** @type {Metric} */ row) => row.name} />
  <//>`;
}

/** @param {Version | null} production */
const noteOf = (production) =>
  `As its publisher or its tuning job wrote them${production === null ? "" : `, beside version ${production.version}, which is in production`}.`;

/** Values by their paths, such as `validation.loss`. @param {Record<string, unknown>} metrics @returns {Map<string, unknown>} */
function flat(metrics, path = "") {
  return new Map(
    Object.entries(metrics).flatMap(([name, value]) =>
      isObject(value) ? [...flat(value, `${path}${name}.`)] : [/** @type {const} */ ([`${path}${name}`, value])],
    ),
  );
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** @param {unknown} value */
const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : typeof value === "string" ? value : JSON.stringify(value));

/** @param {Metric} row */
function difference({ value, other }) {
  if (typeof value !== "number" || typeof other !== "number") return "–";
  const change = Number((value - other).toPrecision(3));
  return change > 0 ? `+${change}` : String(change).replace("-", "\u2212");
}
