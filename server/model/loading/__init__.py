"""Loading the base model's weights: whole files, few of them twice in memory, and refusals that name the reason.

source.py              what --base-model names, or why it is not there
quantization.py        quantised models: dequantised, or refused by name
pretrained.py          the model with its weights, built by transformers
stored_weights.py      safetensors files as tensors that are read when transformers takes them
stored_ranges.py       the tensors that such a file names, and whether it is whole
pickles.py             pytorch_model.bin of old releases
progress.py            a bar or log lines while weights are read and packed
"""
