"""An earlier commit of this engine beside this one: serving and tuning steps, in interleaved pairs of processes.

__main__.py  pairs of processes, asked in turn; the ratios
side.py      one commit's process: serves or tunes whenever it is asked
"""
