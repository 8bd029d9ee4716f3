/**
 * The bodies of the API by their names in `docs/openapi.json`, from which `make page-types` generates the types.
 *
 * @typedef {import("softprompt-api").components["schemas"]} Schemas
 *
 * @typedef {Schemas["Alias"]} Alias
 * @typedef {Schemas["AliasMove"]} AliasMove
 * @typedef {Schemas["AliasTarget"]} AliasTarget
 * @typedef {Schemas["Batch"]} Batch
 * @typedef {Schemas["BatchError"]} BatchError
 * @typedef {Schemas["CallerKey"]} CallerKey
 * @typedef {Schemas["ChatCompletionChunk"]} ChatCompletionChunk
 * @typedef {Schemas["Classification"]} Classification
 * @typedef {Schemas["ClassifyResult"]} ClassifyResult
 * @typedef {Schemas["CompletionChunk"]} CompletionChunk
 * @typedef {Schemas["ErrorDetail"]} ErrorDetail
 * @typedef {Schemas["FileObject"]} TrainingFile
 * @typedef {Schemas["Job"]} Job
 * @typedef {Schemas["JobEvent"]} JobEvent
 * @typedef {Schemas["JobPreview"]} JobPreview
 * @typedef {Schemas["Model"]} Model
 * @typedef {Schemas["ServerVersion"]} ServerVersion
 * @typedef {Schemas["Task"]} Task
 * @typedef {Schemas["Usage"]} Usage
 * @typedef {Schemas["Version"]} Version
 * @typedef {"infer" | "tasks:read" | "tasks:write" | "tune" | "admin"} Scope
 */

/**
 * A page of a list.
 * @template T
 * @typedef {{ data: T[], has_more: boolean }} ListPage
 */

export {};
