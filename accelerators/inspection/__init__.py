"""What a model is before it is trained: its size, the memory it takes, an IPU's verdict on it.

`python -m accelerators.inspection --socket PATH` answers such questions, so that whoever asks
needs no torch. The models are built on the meta device: no weights, no arithmetic.
"""
