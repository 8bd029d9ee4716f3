"""Text to token ids and back.

tokenizer.py        the base model's tokenizer
chat_message.py     one message of a conversation
chat.py             chat messages become one text
chat_template.py    the base model's chat template, and the check that it shows every message
template.py         a task's template around its input
detokenizer.py      the text of a growing token sequence
stop_strings.py     stop strings across token borders
token_bytes.py      the bytes of each token
token_table.py      all of them, for answers that must have a form
gguf_vocabulary.py  the check of a tokenizer that comes of a GGUF file
errors.py           errors of the text layer
"""
