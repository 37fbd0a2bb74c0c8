"""Packs: several runs that differ in seeds and numbers, trained as one block-diagonal network."""
