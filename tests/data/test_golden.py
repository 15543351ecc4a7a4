"""The reference implementation's data sets, order of training and scaling, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elucidiff import data
from tests.golden_files import GOLDEN, load

SETS, TENSORS = load("k_dataset/arrays")
LOADS = [name for name in SETS["cases"] if not name.startswith("sampler")]
ORDERS = [name for name in SETS["cases"] if name.startswith("sampler")]


@pytest.mark.parametrize("name", LOADS)
def test_sets(name: str) -> None:
    case = SETS["cases"][name]
    options = {"max_size": None, "random_seed": 0, "xflip": False, "use_labels": False} | case["kwargs"]
    options["labels"] = options.pop("use_labels")
    dataset = data.open(GOLDEN / "k_dataset" / case["path"], **options)

    assert (len(dataset), dataset.label_dim, dataset.name) == (case["length"], case["label_dim"], case["name"])
    assert dataset.shape == (case["num_channels"], case["resolution"], case["resolution"])
    assert torch.equal(dataset.images(), TENSORS[f"{name}/images"])
    assert torch.equal(dataset.source_rows, TENSORS[f"{name}/raw_idx"])
    assert torch.equal(dataset.mirrored.long(), TENSORS[f"{name}/xflip"])
    labels = dataset.labels()
    if case["label_dim"]:
        assert labels is not None
        assert labels.dtype == torch.float32
        assert torch.equal(labels, TENSORS[f"{name}/labels"])
        assert (dataset.classes is not None) == case["has_onehot_labels"]
    else:
        assert labels is None


@pytest.mark.parametrize("name", ORDERS)
def test_orders(name: str) -> None:
    case = SETS["cases"][name]
    order = data.InfiniteOrder(
        case["n"],
        rank=case["rank"],
        replicas=case["num_replicas"],
        shuffle=case["shuffle"],
        seed=case["seed"],
        window=case["window_size"],
    )
    assert np.array_equal(order.take(150), TENSORS[f"{name}/order"].numpy())


def test_scaling() -> None:
    _, tensors = load("d_samplers/quantize")
    assert torch.equal(data.to_unit(torch.arange(256).to(torch.uint8)), tensors["x_from_u8"])
