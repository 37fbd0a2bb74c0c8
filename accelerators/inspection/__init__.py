"""Inspect a model before training: its size, its memory, and whether an IPU can train it.

`python -m accelerators.inspection --socket PATH` answers such questions, so that its clients
do not need torch. The models are built on the meta device, without weights or arithmetic.
"""
