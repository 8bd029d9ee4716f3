/** Icons: strokes of the text's colour, hidden from screen readers. */

import { html } from "../preact.js";

const PATHS = {
  playground: "M5 4l14 8-14 8z",
  tasks: "M4 6h16M4 12h16M4 18h10",
  tuning: "M4 19c4 0 4-13 8-13s4 8 8 8M4 4v16h16",
  batches: "M12 4l9 4.5-9 4.5-9-4.5zM3 13l9 4.5 9-4.5",
  engine: "M3 12h4l3-8 4 16 3-8h4",
  key: "M14 10a4 4 0 1 0-1.2 2.8L15 15h2v2h2v2h3v-3l-8.2-6M9 9h0",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M5 19l1.5-1.5M17.5 6.5L19 5",
  moon: "M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M4 12l5 5L20 6",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  upload: "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
  download: "M12 4v12M7 11l5 5 5-5M4 16v4h16v-4",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  back: "M15 5l-7 7 7 7",
  pause: "M8 5v14M16 5v14",
  stop: "M6 6h12v12H6z",
  reload: "M20 11A8 8 0 1 0 18 17M20 5v6h-6",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v6M12 7.5v.5",
  good: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8 12l3 3 5-6",
  warn: "M12 3L2 20h20zM12 10v4M12 17v.5",
  bad: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9 9l6 6M15 9l-6 6",
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {{ name: IconName, size?: number }} props `size` in CSS pixels. */
export const Icon = ({ name, size = 18 }) => html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true">
  <path d=${PATHS[name]} />
</svg>`;
