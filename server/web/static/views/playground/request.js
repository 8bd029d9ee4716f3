/** What the playground asks, as bodies of the API. */

/** @typedef {import("./kinds.js").Kind} Kind */
/** @typedef {{ maxTokens: string, temperature: string, hasLogprobs: boolean }} Sampling As typed; an empty text leaves the version's own default. */
/** @typedef {{ path: string, body: Record<string, unknown> }} Ask */

export const NUM_ALTERNATIVES = 4;
const NUM_ANSWERS = 3;

/**
 * @param {Kind} kind @param {string} model @param {{ input: string, question: string }} texts @param {Sampling} sampling
 * @returns {Ask}
 */
export function askOf(kind, model, { input, question }, sampling) {
  if (kind === "classify") return { path: "/v1/classify", body: { model, input } };
  if (kind === "answer") return { path: "/v1/classify", body: { model, input: { question, context: input }, top_k: NUM_ANSWERS } };
  if (kind === "embed") return { path: "/v1/embeddings", body: { model, input, encoding_format: "float" } };
  const given = { max_tokens: numberOf(sampling.maxTokens), temperature: numberOf(sampling.temperature) };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (kind === "complete") {
    return { path: "/v1/completions", body: { model, prompt: input, ...set, ...(sampling.hasLogprobs && { logprobs: NUM_ALTERNATIVES }) } };
  }
  const logprobs = sampling.hasLogprobs && { logprobs: true, top_logprobs: NUM_ALTERNATIVES };
  return { path: "/v1/chat/completions", body: { model, messages: [{ role: "user", content: input }], ...set, ...logprobs } };
}

/** What is no number is sent as it was typed: the server says what it takes. @param {string} text */
function numberOf(text) {
  if (text.trim() === "") return undefined;
  return Number.isNaN(Number(text)) ? text : Number(text);
}

/** @typedef {{ text: string, logprob: number | null, alternatives: { text: string, logprob: number }[] }} Token */

/**
 * The tokens of a chunk of either kind of stream. Without log-probabilities a chunk counts as one token.
 * @param {any} chunk
 * @returns {Token[]}
 */
export function tokensOf(chunk) {
  const choice = chunk.choices[0];
  if (choice === undefined) return [];
  const text = choice.text ?? choice.delta?.content ?? "";
  if (choice.logprobs?.content) {
    return choice.logprobs.content.map((/** @type {any} */ one) => ({
      text: one.token,
      logprob: one.logprob,
      alternatives: one.top_logprobs.map((/** @type {any} */ top) => ({ text: top.token, logprob: top.logprob })),
    }));
  }
  if (choice.logprobs?.tokens) {
    return choice.logprobs.tokens.map((/** @type {string} */ token, /** @type {number} */ index) => ({
      text: token,
      logprob: choice.logprobs.token_logprobs[index],
      alternatives: Object.entries(choice.logprobs.top_logprobs?.[index] ?? {}).map(([top, logprob]) => ({ text: top, logprob: Number(logprob) })),
    }));
  }
  return text === "" ? [] : [{ text, logprob: null, alternatives: [] }];
}
