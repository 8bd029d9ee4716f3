// What a client does, as named functions, each with one line of JSON about what came of it; as scenario.py.

import assert from "node:assert/strict";

export const URL = process.env.OPENAI_BASE_URL;
export const BASE = "softprompt-demo";
export const MODEL = "sentiment";
export const [VECTORS, TOPIC] = ["vectors", "topic"];
export const TURNS = ["I loved every minute of it", "a waste of money", "they lost my parcel"];

const rows = Array.from({ length: 24 }, (_, number) => ({
  prompt: `order ${number} is late`,
  completion: ["wait", "refund"][number % 2],
}));
export const jsonl = rows.map((row) => `${JSON.stringify(row)}\n`).join("");

const scenarios = [];

export function scenario(column, variant, run) {
  scenarios.push({ column, variant, run });
}

export async function run() {
  for (const { column, variant, run } of scenarios) {
    let error = null;
    try {
      await run();
    } catch (raised) {
      error = `${raised.name}: ${raised.message}`;
      if (raised.responseBody) error += ` ${raised.responseBody}`;
    }
    process.stdout.write(`outcome: ${JSON.stringify({ column, variant, error })}\n`);
  }
}

export function checkAnswer(text) {
  assert.ok(typeof text === "string" && text.trim(), `no answer but ${JSON.stringify(text)}`);
}

export async function checkRefused(call, name) {
  let refused;
  try {
    await call();
  } catch (error) {
    refused = error;
  }
  assert.ok(refused, `'${name}' was accepted and not done`);
  assert.equal(refused.status, 400, String(refused));
  assert.ok(refused.param?.split(/[.[\]]/).includes(name), `'${name}' is not named: ${refused.param}: ${refused}`);
}
