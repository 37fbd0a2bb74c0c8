"""A user's own network works like every other network, as far as its properties are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import normlab
from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.norms.conversion_report import ConversionReport
from normlab.plugins.describing import Trouble
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import load, use
from normlab.plugins.trying import with_places
from normlab.specs import registries
from normlab.specs.costs import cost, least_memory_bytes
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.model_facts import NormPlace
from normlab.specs.models import MODELS
from normlab.specs.network_rules import places
from tests.normlab.plugins.authors import described, source
from tests.normlab.plugins.own_networks import JOB, my_nets

pytestmark = pytest.mark.usefixtures("no_plugins")


@pytest.fixture
def mine(tmp_path: Path) -> PluginDescription:
    found = with_places(load(my_nets().written_below(tmp_path), "my_nets.py"))
    use([found])
    return found


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({**JOB, **fields})


def with_options(**options: Any) -> JobSpec:
    return job(model={"name": "tower_of_mine", "options": options})


def problems(spec: JobSpec) -> dict[str, str]:
    return {problem.field: problem.rule for problem in check(spec, None)}


def test_its_options_have_defaults_and_ranges(mine: PluginDescription) -> None:
    assert job().model.options == {"depth": 2, "width": 4}
    assert with_options(depth=3).model.options == {"depth": 3, "width": 4}
    assert with_options(depth=2).fingerprint() == job().fingerprint()
    assert with_options(depth=3).fingerprint() != job().fingerprint()
    assert job().code == (mine.digest,)
    with pytest.raises(ValidationError, match="less than or equal to 8"):
        with_options(depth=9)
    with pytest.raises(ValidationError, match=r"no option 'dpeth'; did you mean 'depth'\?"):
        with_options(dpeth=3)


def test_a_network_of_ours_has_none(mine: PluginDescription) -> None:
    before = JobSpec(normalizer="batch").fingerprint()
    assert JobSpec(normalizer="batch", model={"options": {}}).fingerprint() == before
    with pytest.raises(ValidationError, match="'preresnet8' has no option 'depth'; it has none"):
        JobSpec(normalizer="batch", model={"options": {"depth": 2}})


def test_its_factory_gets_the_jobs_normalizer(mine: PluginDescription) -> None:
    model = with_options(depth=3, width=8).model
    net = build(model, job(normalizer={"kind": "group", "groups": 2}).normalizer, 1, 2, 16)
    assert [m.groups for m in net.modules() if type(m).__name__ == "GroupNorm"] == [2, 2, 2]
    assert net(torch.randn(3, 1, 16, 16)).shape == (3, 2)


def test_kinds_that_act_on_weights_reach_its_convolutions(mine: PluginDescription) -> None:
    net = build(job().model, job(normalizer="weight").normalizer, 1, 2, 16)
    assert any("parametrizations" in name for name, _ in net.named_parameters())


def test_without_norm_the_norm_layers_are_replaced_and_reported(mine: PluginDescription) -> None:
    reports: list[ConversionReport] = []
    spec = job(model={"name": "torches_of_mine"}, normalizer="layer")
    net = build(spec.model, spec.normalizer, 1, 2, 16, report=reports.append)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert [(c.path, c.old) for c in reports[0].converted] == [("body.1", "BatchNorm2d")]


def test_where_its_normalizers_stand_is_known_where_it_was_built(mine: PluginDescription) -> None:
    assert places(job()) == [NormPlace(4, 16), NormPlace(4, 8)]
    assert places(job(dataset={"name": "cifar10"})) == [NormPlace(4, 32), NormPlace(4, 16)]
    assert places(job(model={"name": "torches_of_mine"})) == [NormPlace(8, 8)]
    assert MODELS["tower_of_mine"].channels(None) == [4, 4]
    assert problems(job(normalizer={"kind": "group", "groups": 3})) == {
        "normalizer.groups": "groups=3 does not divide 4 channels; use one of 1, 2, 4"
    }


def test_nothing_is_asserted_where_it_was_not_built(mine: PluginDescription) -> None:
    other = with_options(width=6)
    assert places(other) is None
    assert problems(other) == {}
    folder = {"name": "image_folder", "folder": "x"}
    assert places(job(dataset=folder)) is None
    for spec in (job(), other):
        assert cost(spec) is None
        assert least_memory_bytes(spec) == 0


def test_a_width_that_it_does_not_have_is_refused(mine: PluginDescription) -> None:
    spec = job(model={"name": "tower_of_mine", "width": 8})
    assert problems(spec)["model.width"].startswith("tower_of_mine has no width")


def test_a_description_is_enough_and_a_stored_job_needs_none(mine: PluginDescription) -> None:
    stored = job().model_dump(mode="json")
    use([PluginDescription.model_validate_json(mine.model_dump_json())])
    assert job().model_dump(mode="json") == stored
    assert places(job()) == [NormPlace(4, 16), NormPlace(4, 8)]
    registries.put_in_force([])
    assert JobSpec.from_store(stored).model_dump(mode="json") == stored
    spec = JobSpec.from_store(stored)
    assert problems(spec)["model.name"].startswith("unknown name 'tower_of_mine'; choose one of")


HEAD = "import torch, normlab\nfrom torch import nn\n@normlab.network('bad')\n"
BROKEN_NETWORKS = {
    "returns.py": (
        HEAD + "def bad(norm, num_classes):\n    norm(3)\n    return 3\n",
        "bad returned int; it must return a torch.nn.Module",
    ),
    "ignores.py": (
        HEAD + "def bad(norm, num_classes):\n    return nn.Flatten()\n",
        "bad never calls norm(channels)",
    ),
    "lacks_norms.py": (
        HEAD + "def bad(num_classes):\n    return nn.Flatten()\n",
        "Flatten has no norm layer of torch that could be exchanged",
    ),
    "shapes.py": (
        HEAD + "def bad(norm, in_channels):\n    return norm(in_channels + 1)\n",
        "norm(2) got an input of shape",
    ),
    "logits.py": (
        HEAD + "def bad(norm):\n    return nn.Sequential(norm(1), nn.Flatten())\n",
        "its output is (2, 256); expected predictions of shape (2, 10)",
    ),
    "raises.py": (HEAD + "def bad(norm):\n    return norm(1) / 0\n", "cannot be built for samples"),
    "unannotated.py": (
        HEAD + "def bad(norm, num_classes, depth=3): ...\n",
        "an option needs an annotation, such as depth: float = 0.5",
    ),
    "taken_net.py": (
        "import normlab\n@normlab.network('resnet20')\ndef net(norm): ...\n",
        "the network 'resnet20' is normlab's own",
    ),
    "small.py": (
        "import normlab\n@normlab.network('bad', min_image_size=0)\ndef net(norm): ...\n",
        "min_image_size=0: give an integer of at least 1",
    ),
    "leaves_net.py": (
        HEAD + "def bad(norm, num_classes):\n    import os\n    os._exit(3)\n",
        "ended the process",
    ),
}


def test_broken_networks_are_refused_when_they_are_described(tmp_path: Path) -> None:
    sources = [source(name, text) for name, (text, _) in BROKEN_NETWORKS.items()]
    found = described(sources, tmp_path)
    for (name, (_, reason)), one in zip(BROKEN_NETWORKS.items(), found):
        assert isinstance(one, Trouble), name
        assert reason in one.reason, (name, one.reason)


def test_a_size_that_a_network_cannot_take_is_refused_at_the_door(tmp_path: Path) -> None:
    text = HEAD + (
        "def bad(norm, num_classes, in_channels):\n"
        "    if in_channels != 1: raise ValueError('only grey images')\n"
        "    return nn.Sequential(norm(1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(1, num_classes))\n"
    )
    place = source("grey.py", text).written_below(tmp_path)
    use([with_places(load(place, "grey.py"))])
    grey = {"normalizer": "batch", "model": {"name": "bad"}}
    assert problems(JobSpec.model_validate({**grey, "dataset": {"name": "digits"}})) == {}
    found = problems(JobSpec.model_validate({**grey, "dataset": {"name": "cifar10"}}))
    assert found["model.name"] == "bad and cifar10: ValueError: only grey images"


def test_a_network_of_a_notebook_can_be_used_at_once() -> None:
    @normlab.network("of_a_notebook")
    def net(norm: Any, num_classes: int) -> nn.Module:
        return nn.Sequential(norm(3), nn.Flatten(), nn.LazyLinear(num_classes))

    spec = JobSpec(normalizer="batch", model={"name": "of_a_notebook"})
    assert places(spec) is None
    with pytest.raises(InvalidSpec, match="no model 'of_a_note'"):
        build(spec.model.model_copy(update={"name": "of_a_note"}), spec.normalizer, 3, 4, 8)
