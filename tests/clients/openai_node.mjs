// The `openai` package of npm: chats, streams, answers put back, a loop without tools, completions, models, tuning.

import assert from "node:assert/strict";

import OpenAI, { toFile } from "openai";

import { BASE, MODEL, TOPIC, TURNS, VECTORS, checkAnswer, checkRefused, jsonl, run, scenario } from "./scenario.mjs";

const client = new OpenAI({ maxRetries: 0 });
const jobs = client.fineTuning.jobs;
const messages = [{ role: "user", content: TURNS[0] }];

scenario("chat", "", async () => {
  checkAnswer((await client.chat.completions.create({ model: MODEL, messages })).choices[0].message.content);
});

scenario("stream", "create()", async () => {
  const stream = await client.chat.completions.create({
    model: MODEL,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage;
  }
  checkAnswer(text);
  assert.ok(usage);
});

const asks = {
  "create()": async (conversation) =>
    (await client.chat.completions.create({ model: MODEL, messages: conversation })).choices[0].message,
  "stream()": (conversation) => client.chat.completions.stream({ model: MODEL, messages: conversation }).finalMessage(),
  "parse()": async (conversation) =>
    (await client.chat.completions.parse({ model: MODEL, messages: conversation })).choices[0].message,
};
scenario("stream", "stream()", async () => checkAnswer((await asks["stream()"](messages)).content));
for (const [name, ask] of Object.entries(asks)) {
  scenario("turns", `${name}, itself`, async () => {
    const conversation = [];
    for (const content of TURNS) {
      conversation.push({ role: "user", content });
      const message = await ask(conversation);
      checkAnswer(message.content);
      conversation.push(message);
    }
  });
}

for (const [name, asked] of Object.entries({
  "tools left out": {},
  "tools: []": { tools: [] },
  "tools: null": { tools: null, tool_choice: null },
})) {
  scenario("agent", name, async () => {
    const conversation = [{ role: "system", content: "Answer in a word." }, ...messages];
    let message;
    do {
      ({ message } = (
        await client.chat.completions.create({ model: MODEL, messages: conversation, ...asked })
      ).choices[0]);
      conversation.push(message);
    } while (message.tool_calls?.length);
    checkAnswer(message.content);
  });
}
scenario("agent", "runTools()", async () => {
  checkAnswer(await client.chat.completions.runTools({ model: MODEL, messages, tools: [] }).finalContent());
});

scenario("completions", "", async () => {
  checkAnswer((await client.completions.create({ model: MODEL, prompt: TURNS[0] })).choices[0].text);
  let text = "";
  for await (const chunk of await client.completions.create({ model: MODEL, prompt: TURNS[0], stream: true }))
    text += chunk.choices[0].text;
  checkAnswer(text);
});

scenario("embeddings", "texts, base64 by default", async () => {
  const { data } = await client.embeddings.create({ model: VECTORS, input: TURNS });
  assert.equal(data.length, TURNS.length);
  const [one] = (await client.embeddings.create({ model: VECTORS, input: TURNS[0], encoding_format: "float" })).data;
  assert.equal(data[0].embedding.length, one.embedding.length);
  assert.ok(data[0].embedding.every((value, index) => Math.abs(value - one.embedding[index]) < 1e-5));
});

scenario("embeddings", "token ids", async () => {
  assert.equal((await client.embeddings.create({ model: VECTORS, input: [[20, 21, 22], [23]] })).data.length, 2);
});

scenario("embeddings", "dimensions are refused", async () => {
  await checkRefused(async () => client.embeddings.create({ model: VECTORS, input: "a", dimensions: 2 }), "dimensions");
});

scenario("heads", "classes", async () => {
  const { data } = await client.post("/classify", { body: { model: TOPIC, input: TURNS } });
  assert.deepEqual(data.map((item) => item.probabilities.length), [3, 3, 3]);
});

scenario("models", "", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

const file = (name = "train.jsonl") => toFile(Buffer.from(jsonl), name);
const upload = async (word = "late") => {
  const examples = await toFile(Buffer.from(jsonl.replaceAll("late", word)), "train.jsonl");
  return (await client.files.create({ file: examples, purpose: "fine-tune" })).id;
};

async function wait(id, until = ["succeeded", "failed", "cancelled"]) {
  for (let turn = 0; turn < 600; turn += 1) {
    const job = await jobs.retrieve(id);
    if (until.includes(job.status)) return job;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`job ${id} does not end`);
}

scenario("tuning", "every argument", async () => {
  const hyperparameters = { n_epochs: 1, batch_size: 8, learning_rate_multiplier: 1 };
  const made = await jobs.create({
    model: BASE,
    training_file: await upload(),
    validation_file: await upload("lost"),
    suffix: "tuned-node",
    method: { type: "supervised", supervised: { hyperparameters } },
    integrations: [],
    metadata: { team: "ours" },
    seed: 7,
  });
  const job = await wait(made.id);
  assert.equal(job.status, "succeeded", JSON.stringify(job.error));
  let numEvents = 0;
  for await (const _ of jobs.listEvents(job.id, { limit: 2 })) numEvents += 1;
  assert.ok(numEvents > 2);
  for await (const checkpoint of jobs.checkpoints.list(job.id, { limit: 1 }))
    assert.equal(checkpoint.fine_tuning_job_id, job.id);
  const answer = await client.completions.create({ model: job.fine_tuned_model, prompt: TURNS[0] });
  assert.ok(answer.usage.completion_tokens > 0); // an end token perhaps: three steps teach nothing
});

scenario("tuning", "arguments of null", async () => {
  const nothing = { integrations: null, metadata: null, method: null, seed: null, validation_file: null };
  const hyperparameters = { n_epochs: "auto", batch_size: "auto", learning_rate_multiplier: "auto" };
  const job = await jobs.create({
    model: BASE,
    training_file: await upload(),
    suffix: "tuned-node-b",
    hyperparameters,
    ...nothing,
  });
  await jobs.cancel(job.id);
});

scenario("tuning", "cancel, pause, resume", async () => {
  const { id } = await jobs.create({ model: BASE, training_file: await upload(), suffix: "tuned-node-c" });
  await wait(id, ["queued", "running"]);
  assert.equal((await jobs.pause(id)).status, "paused");
  await jobs.resume(id);
  await jobs.cancel(id);
  assert.equal((await wait(id)).status, "cancelled");
});

scenario("tuning", "integrations are refused", async () => {
  const integrations = [{ type: "wandb", wandb: { project: "ours" } }];
  const training_file = await upload();
  await checkRefused(
    () => jobs.create({ model: BASE, training_file, suffix: "tuned-node-d", integrations }),
    "integrations",
  );
});

scenario("tuning", "dpo is refused", async () => {
  const training_file = await upload();
  const method = { type: "dpo", dpo: { hyperparameters: { beta: 0.1 } } };
  await checkRefused(() => jobs.create({ model: BASE, training_file, suffix: "tuned-node-d", method }), "method");
});

for (const name of ["train.jsonl", "train"]) {
  scenario("files", name, async () => {
    const made = await client.files.create({ file: await file(name), purpose: "fine-tune" });
    assert.equal((await client.files.waitForProcessing(made.id)).status, "processed");
    assert.equal(await (await client.files.content(made.id)).text(), jsonl);
    const ids = [];
    for await (const found of client.files.list({ purpose: "fine-tune", limit: 1, order: "desc" })) ids.push(found.id);
    assert.ok(ids.includes(made.id));
    assert.ok((await client.files.delete(made.id)).deleted);
  });
}

scenario("files", "expires_after is refused", async () => {
  const expires_after = { anchor: "created_at", seconds: 3600 };
  const create = async () => client.files.create({ file: await file(), purpose: "fine-tune", expires_after });
  await checkRefused(create, "expires_after");
});

scenario("files", "another purpose is refused", async () => {
  await checkRefused(async () => client.files.create({ file: await file(), purpose: "vision" }), "purpose");
});

await run();
