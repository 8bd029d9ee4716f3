"""The store: tasks, versions and aliases of soft prompts in one SQL database. NumPy and SQL, no torch.

names.py              task references and the patterns of names
limits.py             how large what comes from outside may be
manifest.py           what a version carries beside its tensors
config_reader.py      `adapter_config.json` -> what its tensors must be
safetensors_format.py the safetensors container, read and written
checkpoint_reader.py  the two files of a PEFT checkpoint -> Checkpoint
checkpoint_folder.py  the same as a folder, with its manifest.json
checkpoint_writer.py  Checkpoint -> the two files again
prefix.py             Checkpoint -> what the model sees
digests.py            prefix digest and content digest
publish.py            what publishing means
targets.py            the versions of an alias, and which of them answers a caller
store.py              the store itself; sql/ holds its tables and queries, migrations/ its schema
maintenance.py        what an operator does to a whole store: upgrade, verify, gc, backup, restore
"""
