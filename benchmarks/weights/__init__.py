"""What each form of `--weights` costs in quality, and what it gains in speed.

__main__.py  one of the two, by name
quality.py   perplexity and agreement of tokens on a real model, scores of the demo's tasks
speed.py     tokens per second of one stream and of 32, beside float32, `--dtype bfloat16` and llama.cpp's Q8_0
"""
