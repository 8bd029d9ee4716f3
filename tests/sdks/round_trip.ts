// A round trip with the SDK that hey-api generates. Each line of output is one step that went well.

import assert from "node:assert/strict";
import { readFileSync, openAsBlob } from "node:fs";

import { client } from "./sdk/client.gen.js";
import * as sdk from "./sdk/index.js";

const { SOFTPROMPT_URL, SOFTPROMPT_API_KEY, CHECKPOINT, TASK } = process.env as Record<string, string>;
const TEXT = "I loved every minute of it";
const path = { task: TASK! };
const alias = { ...path, alias: "production" };

client.setConfig({ baseUrl: SOFTPROMPT_URL!, auth: SOFTPROMPT_API_KEY! });

async function publish(): Promise<void> {
  const { description: _, ...manifest } = JSON.parse(readFileSync(`${CHECKPOINT}/manifest.json`, "utf8"));
  for (const [number, stop] of [[], ["\n"]].entries()) {
    const { data, response } = await sdk.versionsPublish({
      path,
      body: {
        adapter_config: await openAsBlob(`${CHECKPOINT}/adapter_config.json`),
        adapter_model: await openAsBlob(`${CHECKPOINT}/adapter_model.safetensors`),
        manifest: JSON.stringify({ ...manifest, stop }),
      },
    });
    assert.equal(response?.status, 201);
    assert.deepEqual([data?.task, data?.version], [TASK, number + 1]);
  }
}

async function moveAlias(): Promise<void> {
  const before = await sdk.aliasesGet({ path: alias });
  assert.equal(before.data?.version, 1);
  const headers = { "if-match": before.response!.headers.get("etag")! };
  const moved = await sdk.aliasesPut({ path: alias, headers, body: { version: 2, reason: "a round trip" } });
  assert.equal(moved.data?.version, 2);
  const stale = await sdk.aliasesPut({ path: alias, headers, body: { version: 1 } });
  assert.equal(stale.response?.status, 412);
  assert.equal(stale.error?.error.code, "precondition_failed");
}

async function complete(): Promise<void> {
  const { data, response } = await sdk.completionsCreate({ body: { model: TASK!, prompt: TEXT } });
  assert.equal(data?.choices[0]?.text, "positive");
  assert.equal(response?.headers.get("x-softprompt-version"), "2");
}

async function stream(): Promise<void> {
  const { stream: chunks } = await client.sse.post<{ 200: sdk.CompletionChunk }>({
    url: "/v1/completions",
    security: [{ scheme: "bearer", type: "http" }],
    headers: { "content-type": "application/json" },
    body: { model: TASK!, prompt: TEXT, stream: true } satisfies sdk.CompletionRequest,
  });
  let text = "";
  for await (const chunk of chunks) {
    if (typeof chunk === "object") text += chunk.choices[0]?.text ?? ""; // the last event is the text [DONE]
  }
  assert.equal(text, "positive");
}

async function classify(): Promise<void> {
  const { data } = await sdk.classifyCreate({ body: { model: TASK!, input: [TEXT, "a waste of money"] } });
  const labels = data?.data.map((item) => ("label" in item ? item.label : undefined));
  assert.deepEqual(labels, ["positive", "negative"]);
}

async function tune(): Promise<void> {
  const rows = Array.from({ length: 24 }, (_, row) => ({ text: `order ${row} is late`, label: row % 2 ? "wait" : "refund" }));
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const file = await sdk.filesCreate({ body: { file: new File([lines], "train.jsonl"), purpose: "fine-tune" } });
  const model = (await sdk.modelsList()).data!.data.find((one) => !one.parent)!.id;
  const job = await sdk.fineTuningCreate({
    body: { model, training_file: file.data!.id, suffix: `${TASK}-tuned`, hyperparameters: { num_steps: 2 } },
  });
  assert.equal(job.data?.object, "fine_tuning.job");
  const jobPath = { job_id: job.data.id };
  await sdk.fineTuningCancel({ path: jobPath });
  const found = await sdk.fineTuningGet({ path: jobPath });
  assert.equal(found.data?.training_file, file.data!.id);
}

async function notFound(): Promise<void> {
  const { error, response } = await sdk.tasksGet({ path: { task: "nobody-made-it" } });
  assert.equal(response?.status, 404);
  assert.equal(error?.error.code, "task_not_found");
}

for (const step of [publish, moveAlias, complete, stream, classify, tune, notFound]) {
  await step();
  console.log(`passed: ${step.name}`);
}
