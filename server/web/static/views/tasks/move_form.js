/** What is typed to move an alias, and the request that it becomes. */

/** @typedef {import("../../api/types.js").Alias} Alias */
/**
 * @typedef {object} MoveForm
 * @property {string} alias Its name; typed for a new alias only.
 * @property {"one" | "two" | "shadow"} kind
 * @property {number} only The version of `one` and `shadow`.
 * @property {number} first Of `two`.
 * @property {number} second Of `two`.
 * @property {number} share Of `second`, in percent.
 * @property {string} shadowOf
 * @property {string} reason
 */

/**
 * The form for the present state of an alias; null for a new one. `wanted` is a version to put in.
 * @param {Alias | null} alias @param {number[]} versions Newest first. @param {number | null} wanted @returns {MoveForm}
 */
export function formOf(alias, versions, wanted) {
  const present = alias?.version ?? wanted ?? versions[0];
  const next = wanted !== null && wanted !== present ? wanted : (versions.find((one) => one !== present) ?? present);
  const split = alias?.targets.length === 2 ? alias.targets : null;
  return {
    alias: alias?.alias ?? "",
    kind: alias?.shadow_of ? "shadow" : split && wanted === null ? "two" : "one",
    only: wanted ?? present,
    first: split?.[0].version ?? present,
    second: split?.[1].version ?? next,
    share: split ? Math.round((split[1].weight / (split[0].weight + split[1].weight)) * 100) : 10,
    shadowOf: alias?.shadow_of ?? "production",
    reason: "",
  };
}

/** The versions with their weights. A share of 0 or 100 % is one version. @param {MoveForm} form */
export function targetsOf({ kind, only, first, second, share }) {
  if (kind !== "two") return [{ version: only, weight: 1 }];
  return [{ version: first, weight: 100 - share }, { version: second, weight: share }].filter(({ weight }) => weight > 0);
}

/** The body of the request. @param {MoveForm} form */
export function bodyOf(form) {
  const targets = targetsOf(form);
  const place = targets.length === 1 ? { version: targets[0].version } : { targets };
  return { ...place, ...(form.kind === "shadow" && { shadow_of: form.shadowOf }), reason: form.reason };
}
