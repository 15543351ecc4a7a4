"""Whether the samples that are evaluated have the classes of the reference, and as often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import networks
from elucidiff.data import Dataset
from elucidiff.data.labels import Labels
from elucidiff.data.sources import ArraySource
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.evaluation.model_and_data import labels_of
from elucidiff.evaluation.quality import OfModel
from elucidiff.evaluation.quality.subject import frequencies_advice, told_classes
from elucidiff.sampling import Sampler


def model(names: Any, counts: Any) -> Denoiser:
    network = networks.UNet(
        (1, 4), base_channels=4, channel_multipliers=(1,), blocks_per_level=0, label_dim=len(names)
    )
    denoiser = Denoiser(network, preconditioning.EDM())
    denoiser.facts["data"] |= {"class_names": list(names), "class_counts": list(counts)}
    return denoiser


def samples(labels: Any = None, names: Any = ("cat", "dog"), counts: Any = (900, 100)) -> OfModel:
    return OfModel(model(names, counts), Sampler(), range(10), labels)


def reference(names: list[str]) -> Dataset:
    images = np.zeros((len(names), 1, 4), np.float32)
    return Dataset("test", ArraySource(images), Labels.from_names(names, "test"))


BALANCED = reference(["cat", "dog"] * 200)
AS_TRAINED = reference((["cat"] * 9 + ["dog"]) * 40)


def test_other_frequencies_than_the_reference_are_told() -> None:
    advice = frequencies_advice(samples(), BALANCED)
    assert advice is not None
    assert "class cat: 90.0% of the samples, 50.0% of the reference" in advice
    assert frequencies_advice(samples(), AS_TRAINED) is None
    assert frequencies_advice(samples("uniform"), BALANCED) is None
    assert frequencies_advice(samples("uniform"), AS_TRAINED) is not None
    assert frequencies_advice(samples(torch.tensor([0, 1])), BALANCED) is None
    assert frequencies_advice(samples(torch.tensor([1])), BALANCED) is not None
    assert frequencies_advice(samples(counts=()), BALANCED) is None


def test_what_chance_makes_of_a_small_reference_is_not_told() -> None:
    assert frequencies_advice(samples(counts=(50, 50)), reference(["cat"] * 4 + ["dog"] * 6)) is None


def test_classes_that_the_model_does_not_know_are_told() -> None:
    advice = frequencies_advice(samples(), reference((["cat"] * 8 + ["dog"] + ["emu"]) * 40))
    assert advice is not None
    assert "the model does not know: 0.0% of the samples, 10.0% of the reference" in advice


def test_other_frequencies_than_in_training_are_told_where_the_reference_has_no_labels(tmp_path: Path) -> None:
    bare = Dataset("bare", ArraySource(np.zeros((400, 1, 4), np.float32)))
    for without in (bare, tmp_path / "statistics.npz"):
        advice = frequencies_advice(samples("uniform"), without)
        assert advice is not None
        assert "class cat: 50.0% of the samples, 90.0% of the training data" in advice
        assert f"in {without.name}, which has no labels" in advice
        assert frequencies_advice(samples(torch.tensor([1])), without) is not None
        assert frequencies_advice(samples(), without) is None
        assert frequencies_advice(samples("uniform", counts=(50, 50)), without) is None


def test_how_classes_were_chosen() -> None:
    assert told_classes(samples()) == "classes drawn as often as in training (cat 90.0%, dog 10.0%)"
    assert told_classes(samples("uniform")) == "classes drawn equally often"
    assert told_classes(samples(torch.tensor([0]))) == ""


@pytest.mark.parametrize(
    ("names", "data", "places"),
    [
        (("cat", "dog"), ["dog", "cat", "dog"], [1, 0, 1]),
        (("3", "5", "1000"), ["1000", "5"], [2, 1]),
        (("ant", "cat", "dog"), ["dog"], [2]),  # the data may lack some of the model's classes
    ],
)
def test_labels_of_other_data_go_by_the_names_of_classes(names: Any, data: list[str], places: list[int]) -> None:
    rows = labels_of(reference(data), model(names, ()), torch.arange(len(data)), "test")
    assert rows is not None
    assert torch.equal(rows, torch.eye(len(names))[places])


def test_a_class_that_the_model_does_not_know_has_no_label() -> None:
    with pytest.raises(ValueError, match="test has images of class emu, but the model knows 0 to 1: give --labels"):
        labels_of(reference(["cat", "emu"]), model(("cat", "dog"), ()), torch.arange(2), "test")
