/** The request that was just made, for a terminal, Python and TypeScript. The key is never in them. */

import { SERVER_URL } from "../../api/client.js";

/** @typedef {import("./request.js").Ask} Ask */

/** How the `openai` client calls a route, and where its answer has what is asked for. @type {Record<string, { method: string, result: string }>} */
const METHODS = {
  "/v1/completions": { method: "completions", result: "choices[0].text" },
  "/v1/chat/completions": { method: "chat.completions", result: "choices[0].message.content" },
  "/v1/embeddings": { method: "embeddings", result: "data[0].embedding" },
};

/** @param {Ask} ask @param {boolean} hasKey */
export function curl({ path, body }, hasKey) {
  const parts = [
    `curl -s ${shell(urlOf(path))}`,
    "-H 'content-type: application/json'",
    ...(hasKey ? ['-H "authorization: Bearer $SOFTPROMPT_API_KEY"'] : []),
    `-d ${shell(JSON.stringify(body))}`,
  ];
  return parts.join(" \\\n  ");
}

/** @param {Ask} ask @param {boolean} hasKey */
export function python({ path, body }, hasKey) {
  const key = hasKey ? 'os.environ["SOFTPROMPT_API_KEY"]' : '"unused"';
  const imports = hasKey ? "import os\n\n" : "";
  if (path === "/v1/classify") {
    const header = hasKey ? `, headers={"authorization": f"Bearer {${key.replaceAll('"', "'")}}"}` : "";
    return `${imports}import httpx\n\nanswer = httpx.post(${JSON.stringify(urlOf(path))}, json=${literal(body)}${header})\nprint(answer.json())\n`;
  }
  const { method, result } = METHODS[path];
  return `${imports}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(urlOf("/v1"))}, api_key=${key})
answer = client.${method}.create(
${Object.entries(body).map(([name, value]) => `    ${name}=${literal(value)},`).join("\n")}
)
print(answer.${result})
`;
}

/** @param {Ask} ask @param {boolean} hasKey */
export function typescript({ path, body }, hasKey) {
  const key = hasKey ? "process.env.SOFTPROMPT_API_KEY" : '"unused"';
  const json = JSON.stringify(body, null, 2);
  if (path === "/v1/classify") {
    const header = hasKey ? `, authorization: \`Bearer \${${key}}\`` : "";
    return `const answer = await fetch(${JSON.stringify(urlOf(path))}, {
  method: "POST",
  headers: { "content-type": "application/json"${header} },
  body: JSON.stringify(${json.replaceAll("\n", "\n  ")}),
});
console.log(await answer.json());
`;
  }
  const { method, result } = METHODS[path];
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(urlOf("/v1"))}, apiKey: ${key} });
const answer = await client.${method}.create(${json});
console.log(answer.${result});
`;
}

/** @param {string} path */
const urlOf = (path) => SERVER_URL.replace(/\/$/, "") + path;

/** One word of a shell. @param {string} text */
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A value as Python writes it. JSON's strings are Python's. @param {unknown} value @returns {string} */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}
