// hey-api's settings: imports with `.js`, as Node resolves them in modules.
export default {
  input: process.env.SDK_DOCUMENT,
  output: { path: process.env.SDK_FOLDER, module: { extension: ".js" } },
};
