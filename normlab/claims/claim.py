"""A claim: what a paper says, the study that tests it here, and the effects that it predicts."""

from __future__ import annotations

import hashlib
import json
from itertools import count, islice
from typing import Any, Dict, List, Literal, Tuple, Union

from pydantic import Field, model_validator

from normlab.presentation import deciding
from normlab.presentation.judging import Claimed
from normlab.specs.base import Spec
from normlab.specs.decisions import SeedRounds, with_more
from normlab.specs.exclusions import put
from normlab.specs.optimization import TWIN
from normlab.specs.studies import Seed, StudySpec


class PaperReference(Spec):
    """The reference to a paper."""

    paper: str = Field(description="the authors, title, year and arXiv id of the paper")
    figure: str = Field(description="the figure, table or section that shows the claim")


class PublishedNumber(Spec):
    """A published number, shown beside ours."""

    what: str
    value: str
    source: str = Field(description="the paper or repository that has it, and how it was read")


class Effect(Spec):
    """
    A difference that the claim predicts: a minus b, or a minus a number, for each seed.

    It shows if the whole interval lies above *by*, below -*by*, or, for `within`, between -by
    and by; `not_below` means above -by: equal or better. It is contradicted if the whole
    interval lies on the other side of that limit, and undecided otherwise.
    """

    name: str
    metric: str = "val/accuracy"
    reduction: str = "last"
    a: Dict[str, str] = Field(
        description="the label of each path: the cells from whose values others are subtracted"
    )
    b: Union[Dict[str, str], None] = Field(
        None, description="the label of each path: the cells whose values are subtracted"
    )
    than: Union[float, None] = Field(None, description="a number that is subtracted in place of b")
    expect: Literal["above", "below", "within", "not_below"]
    by: float = Field(0.0, ge=0, description="limit of the difference, in the unit of the metric")

    @model_validator(mode="after")
    def _compares_with_one_thing(self) -> Effect:
        if (self.b is None) == (self.than is None):
            raise ValueError(f"effect {self.name!r} needs either b or than")
        return self

    @property
    def claimed(self) -> Claimed:
        """The claim about the mean of the difference."""
        return {
            "above": Claimed(above=self.by),
            "below": Claimed(below=-self.by),
            "not_below": Claimed(above=-self.by),
            "within": Claimed(above=-self.by, below=self.by),
        }[self.expect]


class Tried(Spec):
    """What was tried on tuning seeds before the protocol was written down."""

    what: str
    found: str


class Edition(Spec):
    """An earlier protocol of the claim, or the beginning of this one."""

    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    protocol: str = Field(
        description="what this protocol asked, and which results were known when it was written"
    )
    verdict: str = Field("", description="its result; empty for the current protocol")


class Picture(Spec):
    """The plot that is drawn beside the claim's table."""

    kind: Literal["table", "best", "batches", "training", "band", "ablation", "rises", "power"] = (
        Field("table", description="the kind of plot; normlab/claims/pictures.py describes them")
    )
    metrics: Tuple[str, ...] = Field(
        (), description="the metrics whose curves `training` draws, or that are the edges of `band`"
    )
    title: str = ""


class Quick(Spec):
    """Changes that make a claim's study small enough for a quick test."""

    set: Dict[str, Any] = Field(
        default_factory=dict, description="the new value of each dotted path"
    )


class Claim(Spec):
    """One claim, as its file describes it."""

    key: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    says: str = Field(description="the claim in one or two sentences")
    sources: Tuple[PaperReference, ...] = Field(min_length=1)
    published: Tuple[PublishedNumber, ...] = ()
    study: StudySpec
    effects: Tuple[Effect, ...] = Field(min_length=1)
    decide: Union[SeedRounds, None] = Field(
        None, description="how seeds are added until each effect is decided; null: none are added"
    )
    tuning_seeds: Tuple[Seed, ...] = Field(
        (),
        description="seeds on which `metric` chooses the best of `best_over`; no effect is "
        "judged on them",
    )
    best_over: Union[str, None] = Field(
        None,
        description="a path whose best value each side of an effect takes; "
        "normlab/claims/verdicts.py describes how",
    )
    group_by: Tuple[str, ...] = Field(
        (), description="the paths that form the rows of the table and the plot; empty: all paths"
    )
    metric: str = Field("val/accuracy", description="the metric that the table and the plot show")
    reduction: str = "last"
    confidence: float = Field(0.95, gt=0, lt=1)
    plot: Picture = Picture()
    note: str = Field("", description="what limits the answer at this scale")
    lacks: str = Field(
        "", description="the property of the paper's data without which the effect cannot show"
    )
    tried: Tuple[Tried, ...] = Field(
        (), description="what was tried before this protocol was written"
    )
    history: Tuple[Edition, ...] = Field(
        (), description="earlier protocols, and the beginning of this one, the oldest first"
    )
    quick: Quick = Quick()

    @model_validator(mode="after")
    def _tuning_and_judging_are_apart(self) -> Claim:
        shared = sorted(set(self.tuning_seeds) & set(self.study.seeds))
        if shared:
            raise ValueError(
                f"seeds {shared} are among tuning_seeds and the study's: judge on other seeds than "
                "those that were tuned on"
            )
        if self.tuning_seeds and self.best_over is None:
            raise ValueError("tuning_seeds choose the best of `best_over`: name its path")
        if self.study.decide is not None or (self.decide and not self.study.reuse):
            raise ValueError("a claim decides by its own `decide`, with a study that has `reuse`")
        return self

    def protocol(self) -> str:
        """Hash what is asked and by which rule, in 64 hex digits; no text for readers counts."""
        rule = self.model_dump(
            mode="json", exclude_defaults=True,
            include={"effects", "best_over", "decide", "tuning_seeds"},
        )  # fmt: skip
        for effect in rule["effects"]:
            del effect["name"]
        text = json.dumps([self.study.fingerprint(), rule], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def rounds(self, study: StudySpec) -> List[StudySpec]:
        """
        List *study* with the judging seeds of each round; without `decide` there is one round.

        Args:
            study: the result of `at`; its own seeds are the first judging seeds.
        """
        if self.decide is None:
            return [study]
        looks = deciding.sizes(max(self.decide.first_look, len(study.seeds)), self.decide.at_most)
        seeds = {n: with_more(study.seeds, n, self.tuning_seeds) for n in looks}
        return [
            study.model_copy(update={"seeds": seeds[n], "name": f"{study.name}, {n} seeds"[:200]})
            for n in looks
        ]

    def at(
        self, *, quick: bool = False, seeds: Union[int, None] = None, first_seed: int = 0
    ) -> StudySpec:
        """
        Return the study, optionally small for a test, or with other seeds.

        Other seeds are those from *first_seed* on that are not among `tuning_seeds`.

        Args:
            quick: apply the changes in `quick`.
            seeds: the number of seeds; None: the claim's own.
            first_seed: the first seed.
        """
        raw = self.study.model_dump(mode="json", exclude_defaults=True)
        if quick:
            for path, value in self.quick.set.items():
                put(raw, path, value)
        own = StudySpec.model_validate(raw).seeds
        if seeds or first_seed or set(own) & set(self.tuning_seeds):
            free = (seed for seed in count(first_seed) if seed not in self.tuning_seeds)
            raw["seeds"] = list(islice(free, seeds or len(own)))
        if quick or seeds or first_seed:
            raw["name"] = f"{self.study.name} ({'quick, ' if quick else ''}seeds from {first_seed})"
        return StudySpec.model_validate(raw)


def first_part(study: StudySpec) -> Union[StudySpec, None]:
    """Return the part of *study* that must be complete before the rest; None if there is none.

    A job that follows its twin's weight norms, or starts from its twin's weights, is accepted once
    the twin has succeeded.
    """
    waiting = [
        {path: value}
        for axis in study.axes
        for path in ("optimizer.norms_of", "init_from")
        for value in axis.get(path, ())
        if value == TWIN or (isinstance(value, dict) and value.get("twin") is not None)
    ]
    if not waiting:
        return None
    rest = (*study.exclude, *waiting)
    return study.model_copy(update={"name": f"{study.name}, first part", "exclude": rest})
