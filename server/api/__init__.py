"""HTTP: routes, what stands around them, and the conversion between bodies and the engine.

application.py    the application: routes, middleware, and the object that each room works with
services.py       everything that lives as long as the application
limits.py         what one request may ask for
errors.py         what this layer refuses
openapi.py        the OpenAPI document
docs_page.py      the document as a page
__main__.py       writes docs/openapi.json
access/           who may call, and how much
middleware/       what every request passes
routes/           one file per resource
wire/             bodies as they are sent
inference/        a completion, chat or classification, from body to response
management/       tasks, versions, files and jobs: bodies and uploads
responses/        JSON, event streams and the one error body
"""
