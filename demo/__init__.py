"""The scripts that make the demo model and its soft prompts, which `server/demo` bundles.

``python -m demo.build`` rebuilds everything from nothing; ``README.md`` beside this file tells how well it works.
"""
