// Starts Swagger UI on the server's own document. All URLs are relative to the page, so a root path needs no setting.
"use strict";

const base = new URL(".", document.baseURI).href.replace(/\/$/, "");
const notice = document.getElementById("notice");
notice.textContent = "The document is loading.";

fetch("openapi.json")
  .then((response) => {
    if (!response.ok) throw new Error(`the server answered with status ${response.status}`);
    return response.json();
  })
  .then((spec) => {
    notice.remove();
    SwaggerUIBundle({
      spec: { ...spec, servers: [{ url: base }] },
      domNode: document.getElementById("docs"),
      deepLinking: true,
      displayRequestDuration: true,
      filter: true,
      requestSnippetsEnabled: true,
      validatorUrl: null,
    });
  })
  .catch((error) => {
    notice.textContent = `The API document could not be loaded: ${error.message}. Reload the page to try again.`;
  });
