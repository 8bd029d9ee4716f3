"""Attention of architectures that do not call transformers' attention interface.

own_attention.py      another forward pass of an attention module, over the step's context
registry.py           the architectures that have one, and where it is put into a model
alibi.py              ALiBi as tables of biases
rotary.py             rotary positions
bloom.py              BLOOM
codegen.py            CodeGen
falcon.py             Falcon, with ALiBi or rotary positions
gpt_neo.py            GPT-Neo
gpt_neox_japanese.py  GPT-NeoX-Japanese
gptj.py               GPT-J
mpt.py                MPT
xglm.py               XGLM
"""
