from normlab.specs.datasets import DATASETS
from normlab.specs.models import MODELS


def test_names_are_the_keys() -> None:
    assert all(name == facts.name for name, facts in MODELS.items())
    assert all(name == facts.name for name, facts in DATASETS.items())


def test_the_demo_net_has_the_widths_of_its_protocol() -> None:
    assert MODELS["preresnet8"].channels(None) == [8, 8, 8, 16, 16, 32, 32]


def test_layers_with_weights_give_each_residual_net_its_name() -> None:
    projections = {"resnet18": 3, "resnet50": 4}
    for name, depth in (("resnet20", 20), ("resnet56", 56), ("resnet18", 18), ("resnet50", 50)):
        # a norm after each convolution; none at the linear layer
        assert len(MODELS[name].channels(None)) - projections.get(name, 0) + 1 == depth


def test_the_last_map_of_an_imagenet_net_is_7x7_at_224() -> None:
    assert MODELS["resnet50"].sites(None, 224)[-1].side == 7
    assert MODELS["resnet18"].sites(None, 224)[0].side == 112
