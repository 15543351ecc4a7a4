from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import networks
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.sampling.given import draw_labels_from, labels_asked_for, labels_or_uniform


def model(label_dim: int, kind: str | None = None, names: Any = (), counts: Any = ()) -> Denoiser:
    network = networks.UNet(
        (1, 4), base_channels=4, channel_multipliers=(1,), blocks_per_level=0, label_dim=label_dim
    )
    denoiser = Denoiser(network, preconditioning.EDM())
    denoiser.facts["data"] |= {"label_kind": kind, "class_names": list(names), "class_counts": list(counts)}
    return denoiser


def saved(path: Path, values: Any) -> str:
    np.save(path, values)
    return str(path)


def test_classes(tmp_path: Path) -> None:
    assert labels_asked_for("0-2,7", model(10)).tolist() == [0, 1, 2, 7]
    asked = labels_asked_for(saved(tmp_path / "x.npy", np.array([3, 0], np.uint8)), model(10, "classes"))
    assert (asked.tolist(), asked.dtype) == ([3, 0], torch.int64)


@pytest.mark.parametrize(
    ("text", "names", "numbers"),
    [
        ("cat", ["ant", "cat", "dog"], [1]),
        ("dog, ant,dog", ["ant", "cat", "dog"], [2, 0, 2]),
        ("0-1,dog", ["ant", "cat", "dog"], [0, 1, 2]),
        ("T-shirt/top,1-2", ["T-shirt/top", "bag", "coat"], [0, 1, 2]),
        ("big, red", ["big", "red", "big, red"], [2]),
        ("5,3", ["3", "5"], [5, 3]),
        ("2-3", ["1", "2", "3"], [2, 3]),
        ("-1", ["-1", "7"], [-1]),
        ("01", ["01", "02"], [1]),
        ("2", ["cat", "2", "dog"], [1]),  # a name comes before a number
    ],
)
def test_classes_by_name_and_by_the_number_that_the_data_have(text: str, names: list[str], numbers: Any) -> None:
    assert labels_asked_for(text, model(len(names), names=names)).tolist() == numbers


def test_a_file_of_names_and_one_of_the_numbers_that_the_data_have(tmp_path: Path) -> None:
    names = saved(tmp_path / "names.npy", np.array(["dog", "cat", "dog"]))
    assert labels_asked_for(names, model(2, names=["cat", "dog"])).tolist() == [1, 0, 1]
    numbers = saved(tmp_path / "numbers.npy", np.array([1000, 0, 1000]))
    assert labels_asked_for(numbers, model(2, names=["0", "1000"])).tolist() == [1000, 0, 1000]


def test_a_class_that_was_never_trained_is_taken_only_by_force() -> None:
    denoiser = model(3, names=["ant", "cat", "dog"], counts=[5, 0, 2])
    with pytest.raises(ValueError, match=r"--labels ant,cat: class cat had no training images.*--any-class"):
        labels_asked_for("ant,cat", denoiser)
    assert labels_asked_for("ant,cat", denoiser, any_class=True).tolist() == [0, 1]
    with pytest.raises(ValueError, match="--any-class would have no effect"):
        labels_or_uniform(None, denoiser, any_class=True)


def test_uniform_is_for_classes_alone() -> None:
    assert labels_or_uniform("uniform", model(3)) == "uniform"
    assert labels_or_uniform(None, model(3)) is None
    with pytest.raises(ValueError, match="is not a label vector"):
        labels_or_uniform("uniform", model(2, "vectors"))


@pytest.mark.parametrize(
    ("text", "counts", "drawn"),
    [("uniform", [90, 0, 10], [1, 0, 1]), ("dog,dog,ant", [90, 0, 10], [1, 0, 2]), (None, [90, 0, 10], [90, 0, 10])],
)
def test_what_seeds_draw_their_classes_from(text: str | None, counts: list[int], drawn: list[int]) -> None:
    denoiser = model(3, names=["ant", "cat", "dog"], counts=counts)
    draw_labels_from(denoiser, text)
    assert denoiser.known_labels.counts == tuple(drawn)


def test_a_vector_that_all_seeds_draw() -> None:
    denoiser = model(2, "vectors")
    draw_labels_from(denoiser, "0.5,-1")
    assert denoiser.label_examples is not None
    assert denoiser.label_examples.tolist() == [[0.5, -1]]


@pytest.mark.parametrize(("text", "row"), [("0.3,-0.7", [0.3, -0.7]), (" -1 , 2e-3 ", [-1, 0.002]), ("3,4", [3, 4])])
def test_one_vector(text: str, row: list[float]) -> None:
    asked = labels_asked_for(text, model(2, "vectors"))
    assert asked.dtype == torch.float32
    np.testing.assert_allclose(asked, [row], rtol=1e-6)


def test_vectors_from_a_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 2))
    asked = labels_asked_for(saved(tmp_path / "x.npy", rows), model(2, "vectors"))
    np.testing.assert_array_equal(asked, rows.astype(np.float32))


@pytest.mark.parametrize(
    ("text", "kind", "dim", "says"),
    [
        ("3", None, 0, "the model was trained without labels"),
        ("2,10", "classes", 10, "--labels 2,10: class 10 is out of range, the model knows 0 to 9"),
        ("0.3,0.7", "classes", 10, "'0.3' is neither a number nor a range"),
        ("0.3", "vectors", 2, r"holds float64 (1, 1): the model takes label vectors (K, 2)"),
        ("1-3", "vectors", 2, "--labels '1-3' is not a label vector"),
        ("0.3,cat", "vectors", 2, "--labels '0.3,cat' is not a label vector"),
        ("nan,1", "vectors", 2, "holds values that are not finite"),
    ],
)
def test_what_the_model_does_not_take(text: str, kind: str | None, dim: int, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        labels_asked_for(text, model(dim, kind))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        (np.array([0.0, 1.0]), "classes", "holds float64 (2,): the model takes integer classes (K,)"),
        (np.array([[0, 1]]), "classes", "the model takes integer classes (K,)"),
        (np.array([-1, 1]), "classes", "class -1 is out of range"),
        (np.array(["0", "two"]), "classes", "'two' is neither a number nor a range"),
        (np.array([], int), "classes", "the model takes integer classes (K,)"),
        (np.array([0.0, 1.0]), "vectors", "holds float64 (2,): the model takes label vectors (K, 2)"),
        (np.zeros((0, 2)), "vectors", "the model takes label vectors (K, 2)"),
        (np.zeros((1, 3)), "vectors", "the model takes label vectors (K, 2)"),
        (np.array([["a", "b"]]), "vectors", "the model takes label vectors (K, 2)"),
        (np.array([[0, np.inf]]), "vectors", "not finite"),
    ],
)
def test_files_that_the_model_does_not_take(tmp_path: Path, values: Any, kind: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        labels_asked_for(saved(tmp_path / "x.npy", values), model(2, kind))
    assert says in str(caught.value)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(tmp_path / "archive.npz", np.zeros((1, 2)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    for name, says in (("objects", "never unpickled"), ("empty", "is no .npy file"), ("archive", "is no .npy file")):
        with pytest.raises(ValueError, match=rf"{name}.npy.*{says}"):
            labels_asked_for(str(tmp_path / f"{name}.npy"), model(2, "vectors"))
    with pytest.raises(FileNotFoundError):
        labels_asked_for(str(tmp_path / "none.npy"), model(2, "vectors"))
