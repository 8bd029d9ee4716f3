"""Soft prompts in memory: from a task reference to a prefix in the KV cache.

catalog.py           from a task reference to a version, by what is known of the store
known_references.py  what is known of the store, by reference and by digest
live_captures.py     captures versions that become live before their first use
missing.py           names that the store does not have
part_cache.py        prefixes in host memory, and heads
residency.py         prefixes in the KV cache, and their leases
tasks_folder.py      a folder whose tasks are published on every change
bundled.py           publishes a folder once: the demo's tasks
"""
