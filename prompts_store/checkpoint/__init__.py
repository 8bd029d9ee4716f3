"""PEFT checkpoints: read strictly, resolved to the prefix that the model sees, and written again.

reader.py              the two files -> ParsedCheckpoint
folder.py              the same files in a folder, with manifest.json -> what is published
config_reader.py       `adapter_config.json` -> what its tensors must be
task_types.py          the task types that a base model takes
safetensors_header.py  the header of a safetensors file
safetensors_format.py  its tensors, read and written
left_out.py            tensors that PEFT saved along, by their names
embedding_check.py     an embedding layer among them, compared with the base model's
layouts.py             the tensors of each PEFT type: one table
head.py                the tensors of a head beside the prompt's
prefix.py              Checkpoint -> embeddings, or keys and values
digests.py             prefix digest and content digest
writer.py              Checkpoint -> the two files
"""
