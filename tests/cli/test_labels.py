from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import networks
from elucidiff.cli.labels import labels_asked_for
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning


def model(label_dim: int, kind: str | None = None) -> Denoiser:
    network = networks.UNet(
        (1, 4), base_channels=4, channel_multipliers=(1,), blocks_per_level=0, label_dim=label_dim
    )
    denoiser = Denoiser(network, preconditioning.EDM())
    denoiser.facts["data"]["label_kind"] = kind
    return denoiser


def saved(path: Path, values: Any) -> str:
    np.save(path, values)
    return str(path)


def test_classes(tmp_path: Path) -> None:
    assert labels_asked_for("0-2,7", model(10)).tolist() == [0, 1, 2, 7]
    asked = labels_asked_for(saved(tmp_path / "x.npy", np.array([3, 0], np.uint8)), model(10, "classes"))
    assert (asked.tolist(), asked.dtype) == ([3, 0], torch.int64)


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
    for name, says in (("objects", "never unpickled"), ("empty", "damaged"), ("archive", "is not a .npy file")):
        with pytest.raises(ValueError, match=rf"{name}.npy .*{says}"):
            labels_asked_for(str(tmp_path / f"{name}.npy"), model(2, "vectors"))
    with pytest.raises(FileNotFoundError):
        labels_asked_for(str(tmp_path / "none.npy"), model(2, "vectors"))
