from __future__ import annotations

import random
from pathlib import Path

import torch

from normlab.data import load
from normlab.data.grammar import ALPHABET, RULES, WINDOW, stream, windows
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

NOWHERE = Path("/nonexistent")


def test_windows_match_the_catalogue() -> None:
    data, facts = load(DatasetSpec(name="grammar"), NOWHERE), DATASETS["grammar"]
    assert (len(data.train), len(data.test)) == (facts.train_size, facts.test_size)
    assert (data.channels, data.image_size) == (facts.channels, facts.image_size)
    assert data.num_classes == facts.num_classes == len(ALPHABET)
    assert data.train.y.unique().tolist() == list(range(data.num_classes))
    assert data.train.x.shape == (2000, len(ALPHABET), WINDOW)
    part = load(DatasetSpec(name="grammar", train_size=10, test_size=5), NOWHERE)
    assert torch.equal(part.train.x, data.train.x[:10])
    assert torch.equal(part.test.y, data.test.y[:5])


def test_a_window_is_one_hot_and_its_classes_are_the_characters_that_follow() -> None:
    x, y = windows(4, seed=1)
    assert torch.equal(x.sum(1), torch.ones(4, WINDOW))
    codes = x.argmax(1).flatten()
    assert torch.equal(y.flatten()[:-1], codes[1:])
    text = "".join(ALPHABET[int(code)] for code in codes)
    assert text == stream(4 * WINDOW, random.Random(1))


def test_the_stream_is_always_the_same() -> None:
    assert stream(500, random.Random(5)) == stream(500, random.Random(5))
    assert stream(500, random.Random(5)) != stream(500, random.Random(6))


def test_subjects_and_verbs_agree_in_number() -> None:
    many = {"the", "some", *RULES["ADJECTIVE"]}
    sentences = stream(20_000, random.Random(0)).split(". ")[:-1]
    seen = set()
    for sentence in sentences:
        words = sentence.split()
        subject = next(w for w in words if w not in {*many, "a"})
        if words[words.index(subject) + 1] == "that":
            continue
        plural = subject in RULES["NOUNS"]
        verb = words[words.index(subject) + 1]
        assert verb in (RULES["VERB"] if plural else RULES["VERBS"]), sentence
        seen.add(plural)
    assert seen == {True, False}
