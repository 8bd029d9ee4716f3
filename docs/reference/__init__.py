"""The pages of the reference, written from the code: `python -m docs.reference`, or `make reference`.

settings_page.py      the settings of `softprompt serve`
command_line_page.py  every command and its options, from the parser itself
routes_page.py        the routes, from the OpenAPI document
metrics_page.py       the metrics, as the server registers them
markdown.py           tables
__main__.py           writes the pages beside this file
"""
