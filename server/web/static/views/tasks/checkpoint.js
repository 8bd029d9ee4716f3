/** The files of a checkpoint's folder: what is there, what is missing, and what they say. */

/** @typedef {Record<string, unknown>} JsonObject */
/**
 * @typedef {object} Checkpoint
 * @property {File | null} config
 * @property {File | null} tensors
 * @property {File | null} manifest
 * @property {string[]} others Names of files that are not sent.
 * @property {JsonObject | null} configFields What `config` says.
 * @property {JsonObject | null} manifestFields
 * @property {string[]} faults Sentences about files that cannot be used.
 */

export const CONFIG = "adapter_config.json";
export const TENSORS = "adapter_model.safetensors";
export const MANIFEST = "manifest.json";
const PICKLE = "adapter_model.bin";
const MAX_JSON_BYTES = 1024 ** 2;

/** @type {Checkpoint} */
export const NO_FILES = { config: null, tensors: null, manifest: null, others: [], configFields: null, manifestFields: null, faults: [] };

/** Take files in beside those that were chosen before; a newer one of the same name counts. @param {Checkpoint} earlier @param {File[]} files @returns {Promise<Checkpoint>} */
export async function withFiles(earlier, files) {
  const top = files.filter((file) => file.webkitRelativePath.split("/").length <= 2); // not those of folders in the folder
  const named = (/** @type {string} */ name) => top.findLast((file) => file.name === name) ?? null;
  const config = named(CONFIG) ?? earlier.config;
  const tensors = named(TENSORS) ?? earlier.tensors;
  const manifest = named(MANIFEST) ?? earlier.manifest;
  const used = new Set([CONFIG, TENSORS, MANIFEST]);
  const others = top.map((file) => file.name).filter((name) => !used.has(name));
  const deeper = files.filter((file) => !top.includes(file) && used.has(file.name));
  const [configFields, configFault] = await readJson(config);
  const [manifestFields, manifestFault] = await readJson(manifest);
  const faults = [
    configFault,
    manifestFault,
    tensors === null && others.includes(PICKLE) && `${PICKLE} is a pickle, which can run code: convert its folder with "softprompt task convert" first.`,
    deeper.length > 0 && `Choose one folder: ${[...new Set(deeper.map((file) => file.webkitRelativePath.split("/").slice(0, -1).join("/")))].join(", ")}.`,
    ...[CONFIG, TENSORS].map((name) => top.filter((file) => file.name === name).length > 1 && `There are several files named ${name}: the last one is taken.`),
  ];
  return { config, tensors, manifest, others, configFields, manifestFields, faults: faults.filter((fault) => typeof fault === "string") };
}

/** The object in a file, and what is wrong with it. @param {File | null} file @returns {Promise<[JsonObject | null, string | null]>} */
async function readJson(file) {
  if (file === null) return [null, null];
  if (file.size > MAX_JSON_BYTES) return [null, `${file.name} is too large to be what its name says.`];
  try {
    const fields = JSON.parse((await file.text()).replace(/^\uFEFF/, ""));
    if (typeof fields === "object" && fields !== null && !Array.isArray(fields)) return [fields, null];
    return [null, `${file.name} is not a JSON object.`];
  } catch (error) {
    return [null, error instanceof SyntaxError ? `${file.name} is not JSON.` : `${file.name} cannot be read.`];
  }
}
