/** Lines over a common axis. Not in `index.js`: only views that draw curves load the library. */

import { clock, number } from "../format.js";
import { html, useEffect, useRef, useState } from "../preact.js";
import { isDark } from "../state/theme.js";
import { useStore } from "../state/store.js";
import UPlot from "../vendor/uPlot.mjs";

/** @typedef {{ label: string, values: (number | null)[], colour?: number }} Series `colour` is one of 1 to 8. */

/**
 * @param {{
 *   label: string, x: number[], series: Series[], xLabel?: string, height?: number, isLog?: boolean, min?: number, max?: number,
 *   isTime?: boolean, format?: (value: number) => string,
 * }} props All values of a series lie at the same place of `x`; null is a gap. `isTime`: `x` is Unix time in seconds.
 * `height` in CSS pixels, without the legend. The legend has the values under the pointer, or else the last ones.
 */
export function Curve({ label, x, series, xLabel, height = 200, isLog, min, max, isTime, format = number }) {
  const frame = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {UPlot | null} */ (null));
  const [hovered, setHovered] = useState(/** @type {number | null} */ (null));
  const dark = useStore(isDark);
  const shape = JSON.stringify([series.map((one) => [one.label, one.colour]), xLabel, height, isLog, min, max, isTime, dark]);

  useEffect(() => {
    const target = /** @type {HTMLDivElement} */ (frame.current);
    const drawn = new UPlot(options(), dataOf(x, series), target);
    plot.current = drawn;
    const observer = new ResizeObserver(() => drawn.setSize({ width: target.clientWidth, height }));
    observer.observe(target);
    return () => {
      observer.disconnect();
      drawn.destroy();
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(dataOf(x, series)), [x, series]);

  const options = () => {
    const target = /** @type {HTMLDivElement} */ (frame.current);
    const [text, grid] = [colourOf(target, "--text-3"), colourOf(target, "--border")];
    const axis = { stroke: text, font: "12px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
    return /** @type {UPlot.Options} */ ({
      width: target.clientWidth,
      height,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 } },
      scales: { x: { time: isTime ?? false }, y: { distr: isLog ? 3 : 1, range: isLog ? undefined : rangeOf(min, max) } },
      axes: [{ ...axis, size: 30, ...(isTime ? { values: clockTimes } : {}), label: xLabel, labelSize: 18, labelGap: 0, labelFont: axis.font }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))) }],
      series: [{}, ...series.map((one, index) => ({ label: one.label, stroke: colourOf(target, `--data-${one.colour ?? index + 1}`), width: 2, spanGaps: true, points: { show: x.length < 2 } }))],
      hooks: { setCursor: [(drawn) => setHovered(drawn.cursor.idx ?? null)] },
    });
  };

  const shown = hovered ?? x.length - 1;
  return html`<figure class="curve" aria-label=${label}>
    <div ref=${frame} aria-hidden="true" style=${{ minHeight: `${height}px` }}></div>
    <figcaption>
      ${xLabel && hovered !== null && html`<span class="curve-place">${xLabel} ${number(x[shown])}</span>`}
      ${series.map((one, index) => html`<span key=${one.label} class="legend">
        <span class="swatch" style=${{ background: `var(--data-${one.colour ?? index + 1})` }}></span>${one.label}
        <strong>${valueAt(one.values, shown, format)}</strong>
      </span>`)}
    </figcaption>
  </figure>`;
}

/** @param {number[]} x @param {Series[]} series @returns {UPlot.AlignedData} */
const dataOf = (x, series) => [x, ...series.map((one) => one.values)];

/** One line per tick, without the date. @param {UPlot} _ @param {number[]} ticks */
const clockTimes = (_, ticks) => ticks.map(clock);

/** @param {(number | null)[]} values @param {number} index @param {(value: number) => string} format */
function valueAt(values, index, format) {
  const value = values.slice(0, index + 1).findLast((one) => one !== null);
  return value === undefined || value === null ? "–" : format(value);
}

/** The axis holds the values, and the given ends where these are beyond. @param {number | undefined} min @param {number | undefined} max */
function rangeOf(min, max) {
  return (/** @type {UPlot} */ _, /** @type {number} */ low, /** @type {number} */ high) => {
    const [from, to] = [Math.min(low ?? 0, min ?? Infinity), Math.max(high ?? 1, max ?? -Infinity)];
    const margin = (to - from) * 0.05 || 1;
    return /** @type {[number, number]} */ ([from === min ? from : from - margin, to === max ? to : to + margin]);
  };
}

/** A canvas knows no custom properties: an element tells the colour. @param {HTMLElement} element @param {string} name */
function colourOf(element, name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
