// Prints the lines of a file as the page sends them, as JSON; a problem stands as its message. Arguments: file, task, endpoint.
import { readFileSync } from "node:fs";

import { LineProblem, wholeLine } from "../../server/web/static/views/batches/lines.js";

const [file, model, endpoint] = process.argv.slice(2);
const whole = (text, index) => {
  try {
    return wholeLine({ number: index + 1, text }, { model, endpoint });
  } catch (error) {
    if (!(error instanceof LineProblem)) throw error;
    return error.message;
  }
};
console.log(JSON.stringify(readFileSync(file, "utf8").split("\n").map(whole)));
