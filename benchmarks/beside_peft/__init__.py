"""This engine beside PEFT one by one, on bases and tasks that the main benchmark leaves out.

__main__.py         which of them to measure
rounds.py           both sides in turn; ratios with their interval
engine.py           the engine of a server on a CPU, and its step loop
heads.py            tasks with heads: checkpoints by PEFT, read by both sides
encoder_decoder.py  answers of a T5
decoder_heads.py    classification with a Llama
encoder_heads.py    classification with a BERT, and the time of its linear layers alone
"""
