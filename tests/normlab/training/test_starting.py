"""A training starts from the weights of another: strictly, with a new head, or new normalizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from normlab.data import load
from normlab.errors import InvalidSpec, UnsupportedModel
from normlab.nets import build
from normlab.norms import activation_norms, remove_weight_normalization
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.training.starting import start_from
from normlab.training.swapping import norm_places
from tests.normlab.training.recording import small_job, train

SHA = "0" * 64
# One value for each channel is too few for these; `convnet` keeps its maps larger.
WITHOUT_NORM = ("none", "weight", "bounded_weight", "scaled_weight_standardized")
NET: dict[str, Any] = {"model": {"name": "convnet", "width": 16}}


def written(folder: Path, **fields: Any) -> Path:
    """Train a little, and return the file of weights."""
    recorder, _ = train(small_job(**{"epochs": 1, **NET, **fields}), folder)
    return Path(recorder.events("ArtifactWritten")[0].path)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("batch"))


def started(file: Path, start: Any = None, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """Return a network that starts from *file*, and the log lines."""
    fields = {**NET, **fields}
    spec = small_job(**fields, init_from={"file": "net.safetensors", **(start or {})})
    data = load(spec.dataset, file.parent)
    torch.manual_seed(spec.seed)
    sizes = (data.channels, fields.get("classes", data.num_classes), data.image_size)
    model = build(spec.model, spec.normalizer, *sizes)
    return model, start_from(model, spec, data, file)


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_the_same_network_starts_with_every_tensor(batch: Path) -> None:
    model, said = started(batch)
    assert_equal(dict(model.state_dict()), load_file(batch))
    told = said["init_from"]
    assert (told["loaded"], told["carried"], told["new"], told["unused"]) == (
        len(load_file(batch)), [], [], [],
    )  # fmt: skip


def test_a_training_begins_where_the_other_ended(batch: Path, tmp_path: Path) -> None:
    spec = small_job(**NET, epochs=1, optimizer={"lr": 1e-30}, init_from="net.safetensors")
    recorder, summary = train(spec, tmp_path, weights=batch)
    environment = recorder.events("Started")[0].environment
    assert environment["init_from"]["weights"] == "net.safetensors"
    new = load_file(recorder.events("ArtifactWritten")[0].path)
    for name, value in load_file(batch).items():
        if value.dim() > 1:
            torch.testing.assert_close(new[name], value, rtol=0, atol=1e-20)
    assert isinstance(summary, dict)


def test_a_resumed_training_has_the_same_bits(batch: Path, tmp_path: Path) -> None:
    from tests.normlab.training.test_resume import final_state, stopper

    spec = small_job(**NET, normalizer="online", freeze=["0.*"],
                     init_from={"file": "net.safetensors", "normalizers": "swap"})  # fmt: skip
    whole, _ = train(spec, tmp_path / "whole", weights=batch)
    first, _ = train(spec, tmp_path / "first", should_stop=stopper(7), weights=batch)
    named = first.named_checkpoints()
    second, _ = train(spec, tmp_path / "second", resume=named, weights=batch)
    a, b = final_state(whole)["model"], final_state(second)["model"]
    assert_equal(a, b)
    assert torch.equal(a["0.weight"], load_file(batch)["0.weight"])  # frozen
    assert not torch.equal(a["2.weight"], load_file(batch)["2.weight"])


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_kind_takes_the_place_of_batch_norm(kind: str, batch: Path) -> None:
    model, said = started(batch, {"normalizers": "swap"}, normalizer=kind)
    remove_weight_normalization(model)
    theirs, told = load_file(batch), said["init_from"]
    if kind == "batch":
        assert_equal(dict(model.state_dict()), theirs)
        return
    plain = dict(model.state_dict())
    convolutions = [n for n, v in theirs.items() if v.dim() > 1]
    if not BY_KIND[kind].acts_on_weights:
        for name in convolutions:
            assert torch.equal(plain[name], theirs[name]), name
    learned = {
        place: layer
        for place, site in norm_places(model)
        for layer in activation_norms(site)
        if layer.affine
    }
    for place, layer in learned.items():
        assert torch.equal(layer.weight, theirs[f"{place}.layer.norm.weight"]), place
    assert len([n for n in told["carried"] if n.endswith(".weight")]) == len(learned)
    assert len(learned) == (0 if kind in WITHOUT_NORM else 6)


def test_weight_normalization_starts_from_the_trained_directions(batch: Path) -> None:
    model, _ = started(batch, {"normalizers": "swap"}, normalizer="weight")
    torch.testing.assert_close(model[0].weight, load_file(batch)["0.weight"])


def test_from_normalized_weights_the_effective_ones_are_taken(tmp_path: Path) -> None:
    file = written(tmp_path, normalizer="weight")
    spec = small_job(**NET, normalizer="weight")
    source = build(spec.model, spec.normalizer, 1, 10, 16)
    source.load_state_dict(load_file(file))
    model, said = started(file, {"normalizers": "swap"}, normalizer="group")
    assert torch.equal(model[0].weight, source[0].weight)
    assert all(".layer." in name for name in said["init_from"]["new"])


def test_running_statistics_go_on_where_both_kinds_have_them(batch: Path) -> None:
    model, said = started(batch, {"normalizers": "swap"}, normalizer="batch_renorm")
    theirs = load_file(batch)
    (mean,) = (n for n in theirs if n.startswith("1.") and n.endswith("running_mean"))
    layer = activation_norms(model)[0]
    assert torch.equal(layer.running_mean, theirs[mean])
    assert "1.layer.norm.running_mean" in said["init_from"]["carried"]
    assert "1.layer.norm.running_var" not in said["init_from"]["unused"]


def test_proxy_normalized_activations_take_the_affine_of_the_norm(batch: Path) -> None:
    proxy = {"kind": "group", "groups": 2, "proxy": True}
    model, said = started(batch, {"normalizers": "swap"}, normalizer=proxy)
    assert torch.equal(model[1].layer.weight, load_file(batch)["1.layer.norm.weight"])
    assert "1.layer.proxy_weight" in said["init_from"]["new"]


def test_a_file_without_metadata_is_taken_to_have_torchs_names(batch: Path, tmp_path: Path) -> None:
    save_file(load_file(batch), tmp_path / "foreign.safetensors")
    model, said = started(
        tmp_path / "foreign.safetensors", {"normalizers": "swap"}, normalizer="online"
    )
    assert torch.equal(model[0].weight, load_file(batch)["0.weight"])
    assert "1.layer.norm.mu" in said["init_from"]["carried"]


def test_a_new_head_is_the_only_new_part(batch: Path) -> None:
    state = load_file(batch)
    head = [n for n in state if n.startswith(f"{max(int(n.split('.')[0]) for n in state)}.")]
    model, said = started(batch, {"head": "new"})
    assert sorted(said["init_from"]["new"]) == sorted(head)
    assert sorted(said["init_from"]["unused"]) == sorted(head)
    assert not torch.equal(dict(model.state_dict())[head[0]], state[head[0]])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": {"name": "convnet", "width": 8}}, r"0.weight is \(16, 1, 3, 3\) in the file"),
        ({"normalizer": "dyt"}, r"1.layer.norm.alpha \(1\) is not in the file.*normalizers: swap"),
        ({"normalizer": "layer"}, "1.layer.norm.running_mean .* and not in the network"),
        ({"model": {"name": "preresnet8", "width": 16}}, "and 73 more"),
    ],
)
def test_weights_that_do_not_fit_are_named_with_their_shapes(
    fields: dict[str, Any], said: str, batch: Path
) -> None:
    with pytest.raises(InvalidSpec, match=said) as caught:
        started(batch, **fields)
    (problem,) = caught.value.problems
    assert problem.field == "init_from"
    assert "missing and unused" in problem.rule


def test_what_may_be_missing_or_unused_is_said_by_patterns(batch: Path) -> None:
    narrow = {"missing": ["*"], "unused": ["*running*", "*num_batches*"]}
    _, said = started(batch, narrow, normalizer="layer", model={"name": "convnet", "width": 8})
    assert "0.weight" in said["init_from"]["new"]
    assert "0.weight" in said["init_from"]["unused"]
    with pytest.raises(InvalidSpec, match="running_mean"):
        started(batch, {"missing": "allow", "unused": ["*var"]}, normalizer="layer")


def test_a_changed_or_damaged_or_absent_file_is_refused(batch: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="were changed: their SHA-256 is"):
        started(batch, {"sha256": SHA})
    short = tmp_path / "short.safetensors"
    short.write_bytes(batch.read_bytes()[:-5])
    with pytest.raises(InvalidSpec, match=r"short\.safetensors is damaged"):
        started(short)
    with pytest.raises(InvalidSpec, match="No such file"):
        started(tmp_path / "gone.safetensors")
    with pytest.raises(InvalidSpec, match="were not given to the training"):
        train(small_job(**NET, init_from="net.safetensors"), tmp_path)


def test_an_emulated_ipu_starts_from_weights(batch: Path, tmp_path: Path) -> None:
    start = {"file": "net.safetensors", "normalizers": "swap"}
    fields = {**NET, "normalizer": "group", "epochs": 1, "init_from": start}
    emulated = {"device": "ipu", "ipu_runtime": "emulated"}
    recorder, _ = train(small_job(**fields, **emulated), tmp_path / "ipu", weights=batch)
    plain, _ = train(small_job(**fields), tmp_path / "cpu", weights=batch)
    losses = [torch.tensor(r.points["train/loss"]) for r in (recorder, plain)]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
    with pytest.raises(UnsupportedModel, match="freeze: a compiled update moves every parameter"):
        train(small_job(**fields, **emulated, freeze=["0.*"]), tmp_path / "no", weights=batch)


def test_the_fingerprint_depends_on_the_content_and_not_on_its_name() -> None:
    def fingerprint(**start: Any) -> str:
        return JobSpec.model_validate({"normalizer": "batch", "init_from": start}).fingerprint()

    job = "01890000-0000-7000-8000-000000000000"
    assert fingerprint(job=job, sha256=SHA) == fingerprint(file="a.safetensors", sha256=SHA)
    assert fingerprint(job=job, sha256=SHA) != fingerprint(job=job, sha256="1" * 64)
    assert fingerprint(sha256=SHA) != fingerprint(sha256=SHA, normalizers="swap")
