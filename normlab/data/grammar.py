"""
A stream of characters from a small grammar, cut into windows, to predict the next character.

Subjects and verbs agree in number, also when a relative clause stands between them ("the cats
that see a dog run."), so that the next character can depend on a word far back.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.data.raw import Raw
from normlab.specs.network_and_data import DatasetSpec

WINDOW = 32  # characters
_TRAIN, _TEST = 2000, 500  # windows

_NOUNS = ("cat", "dog", "hen", "kiwi", "mule", "pig", "yak", "zebra")
_VERBS = ("find", "hear", "join", "like", "need", "pull", "see", "value")
_ADJECTIVES = ("brave", "calm", "quick", "wild")

# A name in capitals is replaced by one of its alternatives, with equal probability.
RULES: Dict[str, Tuple[str, ...]] = {
    "SENTENCE": ("ONE DOES", "MANY DO"),
    "ONE": ("the NOUN", "a NOUN", "the ADJECTIVE NOUN", "the NOUN that DOES"),
    "MANY": ("the NOUNS", "some NOUNS", "the ADJECTIVE NOUNS", "the NOUNS that DO"),
    "DOES": ("VERBS", "VERBS ONE", "VERBS MANY"),
    "DO": ("VERB", "VERB ONE", "VERB MANY"),
    "NOUN": _NOUNS,
    "NOUNS": tuple(f"{noun}s" for noun in _NOUNS),
    "VERB": _VERBS,
    "VERBS": tuple(f"{verb}s" for verb in _VERBS),
    "ADJECTIVE": _ADJECTIVES,
}
ALPHABET = "".join(
    sorted({*". ", *(c for texts in RULES.values() for text in texts for c in text if c.islower())})
)


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Generate 2,000 windows for training and 500 for testing, always the same."""
    train, test = windows(_TRAIN, seed=1), windows(_TEST, seed=2)
    return Raw(*train, *test, num_classes=len(ALPHABET), standardize=False)


def windows(n: int, seed: int) -> Tuple[Tensor, Tensor]:
    """
    Cut a stream into *n* windows; each begins where the one before it ends.

    Shape:
        one-hot characters (n, K, WINDOW), float32, and the next ones (n, WINDOW), int64
    """
    letters = {c: i for i, c in enumerate(ALPHABET)}
    text = stream(n * WINDOW + 1, random.Random(seed))
    codes = torch.tensor([letters[c] for c in text])
    x = F.one_hot(codes[:-1].view(n, WINDOW), len(letters))
    return x.transpose(1, 2).float().contiguous(), codes[1:].view(n, WINDOW).clone()


def stream(length: int, draw: random.Random) -> str:
    """Write sentences until there are *length* characters."""
    text = ""
    while len(text) < length:
        text += f"{' '.join(_words('SENTENCE', draw))}. "
    return text[:length]


def _words(symbol: str, draw: random.Random) -> List[str]:
    alternatives = RULES.get(symbol)
    if alternatives is None:
        return [symbol]
    chosen = alternatives[int(draw.random() * len(alternatives))]
    return [word for part in chosen.split() for word in _words(part, draw)]
