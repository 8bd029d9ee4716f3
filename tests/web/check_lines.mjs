// Prints the verdict of the page on each line of a file, as JSON: the number of its examples, or what is wrong with it.
import { readFileSync } from "node:fs";

import { readLine } from "../../server/web/static/views/tuning/line_check.js";

const verdict = (text) => {
  try {
    return readLine(text).numExamples;
  } catch (error) {
    return error.message;
  }
};
console.log(JSON.stringify(readFileSync(process.argv[2], "utf8").split("\n").map(verdict)));
