"""How a network learns: the loop, its parts, and what it asks of an accelerator."""
