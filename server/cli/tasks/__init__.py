"""`softprompt task …`: commands that work on a server and on a database.

commands.py           list, show, promote, rollback, history, retire, delete, export
publish.py            publish: a folder, or a checkpoint on a hub
aliases.py            alias set, alias delete
ensembles.py          publish-ensemble
import_folder.py      import: a folder of many checkpoints
convert.py            convert: an old checkpoint folder into one that can be published
pickle_process.py     starts the process that reads a pickle
pickle_worker.py      that process: a pickle's tensors into a safetensors file
checkpoint_folder.py  a version as a folder
hub.py                a checkpoint on a hub
ensemble_folder.py    an ensemble as a folder
backend.py            the interface of the commands to a backend
http_backend.py       the backend of a server
store_backend.py      the backend of a database
choose_backend.py     chooses a backend by the options
printing.py           the text and the JSON that the commands print
publication.py        the parameters and the result of publishing
"""
