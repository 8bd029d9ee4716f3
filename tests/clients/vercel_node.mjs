// The Vercel AI SDK: `ai` with `@ai-sdk/openai-compatible`, and with `@ai-sdk/openai` as it is told to use chat.

import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ToolLoopAgent, embedMany, generateText, stepCountIs, streamText } from "ai";

import { MODEL, TURNS, URL, VECTORS, checkAnswer, run, scenario } from "./scenario.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const compatible = createOpenAICompatible({ name: "ours", baseURL: URL, includeUsage: true });
const openai = createOpenAI();
const chatModels = { "openai-compatible": compatible(MODEL), openai: openai.chat(MODEL) };
const completionModels = { "openai-compatible": compatible.completionModel(MODEL), openai: openai.completion(MODEL) };
const once = { maxRetries: 0 };

async function streamed(asked) {
  const result = streamText({ ...once, ...asked, onError: () => {} });
  let failure;
  for await (const part of result.fullStream) if (part.type === "error") failure = part.error;
  if (failure) throw failure;
  return result;
}

for (const [name, model] of Object.entries(chatModels)) {
  scenario("chat", name, async () => {
    const { text, usage } = await generateText({ ...once, model, system: "Answer in a word.", prompt: TURNS[0] });
    checkAnswer(text);
    assert.ok(usage.outputTokens > 0);
  });

  scenario("stream", name, async () => {
    const result = await streamed({ model, prompt: TURNS[0] });
    checkAnswer(await result.text);
    assert.ok((await result.usage).outputTokens > 0, "no usage");
  });

  for (const ask of [generateText, streamed]) {
    scenario("turns", `${name}, ${ask === streamed ? "streamText" : "generateText"}`, async () => {
      const messages = [];
      for (const content of TURNS) {
        messages.push({ role: "user", content });
        const result = await ask({ ...once, model, messages });
        checkAnswer(await result.text);
        messages.push(...(await result.response).messages);
      }
    });
  }

  scenario("agent", `${name}, ToolLoopAgent`, async () => {
    const agent = new ToolLoopAgent({ ...once, model, instructions: "Answer in a word." });
    checkAnswer((await agent.generate({ prompt: TURNS[0] })).text);
  });

  scenario("agent", `${name}, tools: {}`, async () => {
    const asked = { tools: {}, toolChoice: "auto", stopWhen: stepCountIs(3) };
    checkAnswer((await generateText({ ...once, model, prompt: TURNS[0], ...asked })).text);
  });
}

for (const [name, model] of Object.entries(completionModels)) {
  scenario("completions", name, async () => {
    checkAnswer((await generateText({ ...once, model, prompt: TURNS[0] })).text);
    checkAnswer(await (await streamed({ model, prompt: TURNS[0] })).text);
  });
}

scenario("embeddings", "openai().embedding", async () => {
  const { embeddings } = await embedMany({ maxRetries: 0, model: openai.embedding(VECTORS), values: TURNS });
  assert.equal(embeddings.length, TURNS.length);
  assert.ok(Math.abs(Math.hypot(...embeddings[0]) - 1) < 1e-4);
});

scenario("chat", "openai() itself, which asks the Responses interface, is refused", async () => {
  const answer = generateText({ ...once, model: openai(MODEL), prompt: TURNS[0] });
  await assert.rejects(answer, (error) => error.statusCode === 404 && error.url.endsWith("/responses"));
});

await run();
