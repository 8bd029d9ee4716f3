"""PEFT checkpoints: read strictly, resolved to the prefix that the model sees, and written again.

reader.py              the two files -> ParsedCheckpoint
folder.py              the same files in a folder, with manifest.json -> what is published
config_reader.py       `adapter_config.json` -> what its tensors must be
safetensors_format.py  the safetensors container, read and written
layouts.py             the tensors of each PEFT type: one table
prefix.py              Checkpoint -> embeddings, or keys and values
digests.py             prefix digest and content digest
writer.py              Checkpoint -> the two files
"""
