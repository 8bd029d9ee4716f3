"""HTTP: routes, middleware, and the conversion between bodies and the engine.

application.py    the application: routes, middleware, and the object that each room works with
services.py       objects that live as long as the application
limits.py         limits of one request
errors.py         exceptions of this layer
openapi.py        the OpenAPI document
engine_state.py   the engine's state, as one caller may see it
removed_tasks.py  what is counted for a task goes with it
fields_page.py    docs/fields.md: the known fields of requests, done or not
__main__.py       writes docs/openapi.json and docs/fields.md
access/           keys, scopes, quotas and overload
middleware/       layers around every request
routes/           one file per resource
wire/             bodies as they are sent
inference/        a completion, chat or classification, from body to response
management/       tasks, versions, files and jobs: bodies and uploads
responses/        JSON, event streams and the one error body
"""
