/** The views: where they are, what a caller needs to see them, and the file that is loaded when one is opened. */

/**
 * @typedef {{ place: import("./router.js").Place }} ViewProps
 * @typedef {object} View
 * @property {string} id The first part of its place, `#/tasks`.
 * @property {string} title
 * @property {import("./parts/icon.js").IconName} icon
 * @property {import("./api/types.js").Scope} scope Without it the view is not offered.
 * @property {() => Promise<{ default: (props: ViewProps) => unknown }>} load
 */

/** @type {View[]} */
export const VIEWS = [
  { id: "playground", title: "Playground", icon: "playground", scope: "infer", load: () => import("./views/playground.js") },
  { id: "tasks", title: "Tasks", icon: "tasks", scope: "tasks:read", load: () => import("./views/tasks.js") },
  { id: "tuning", title: "Tuning", icon: "tuning", scope: "tune", load: () => import("./views/tuning.js") },
  { id: "batches", title: "Batches", icon: "batches", scope: "infer", load: () => import("./views/batches.js") },
  { id: "engine", title: "Engine", icon: "engine", scope: "tasks:read", load: () => import("./views/engine.js") },
];
