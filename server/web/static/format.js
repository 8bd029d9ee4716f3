/** Numbers, sizes and times as text. */

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const DATE = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

/** @param {number} value */
export const number = (value) => (Math.abs(value) >= 1_000 ? WHOLE : NUMBER).format(value);

/** A share from 0 to 1. @param {number} share @param {number} [digits] */
export const percent = (share, digits = 1) => `${(share * 100).toFixed(digits)} %`;

/** @param {number} size In bytes. */
export function bytes(size) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(size, 1)) / 3));
  return `${NUMBER.format(Number((size / 1000 ** power).toPrecision(3)))} ${units[power]}`;
}

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60 ? `${minutes} min ${Math.round((ms % 60_000) / 1_000)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {string | number} at ISO 8601, or Unix time in seconds. */
export const dateOf = (at) => new Date(typeof at === "number" ? at * 1_000 : at);

/** @param {Date} date */
export const moment = (date) => DATE.format(date);

/** The time of day. @param {number} at Unix time in seconds. */
export const clock = (at) => CLOCK.format(dateOf(at));

/** @param {Date} date @param {number} [now] */
export function ago(date, now = Date.now()) {
  const seconds = (date.getTime() - now) / 1_000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return Math.abs(seconds) < 10 ? "now" : RELATIVE.format(Math.round(seconds / size), unit);
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
