"""What a model tells about its labels, and that class indices and vectors are never taken for each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from elucidiff import networks
from elucidiff.denoisers.labels import label_kind
from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.denoisers.shapes import label_rows
from elucidiff.design import preconditioning

EXAMPLES = [[0.25, -1.0], [3.0, 0.5], [0.1, 7]]


def conditional(**facts: Any) -> Denoiser:
    torch.manual_seed(0)
    network = networks.UNet(
        (1, 4), base_channels=4, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(), label_dim=2
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    denoiser = Denoiser(network, preconditioning.EDM()).eval()
    denoiser.facts["data"] = facts
    return denoiser


X = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0))


def test_facts_survive_the_model_folder(tmp_path: Path) -> None:
    conditional(label_kind="vectors", label_examples=EXAMPLES).save(tmp_path)
    model = load(tmp_path)
    assert model.label_kind == "vectors"
    assert model.label_examples is not None
    assert torch.equal(model.label_examples, torch.tensor(EXAMPLES))


@pytest.mark.parametrize("facts", [{}, {"label_kind": None}, {"label_kind": "classes", "label_examples": EXAMPLES}])
def test_without_a_word_labels_are_classes(facts: dict[str, Any]) -> None:
    model = conditional(**facts)
    assert (model.label_kind, model.label_examples) == ("classes", None)
    assert label_kind("no facts at all") == "classes"


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"label_kind": "words"}, "label_kind is 'words', but must be one of classes, vectors"),
        ({"label_kind": ["vectors"]}, "label_kind is"),
        ({"label_kind": "vectors", "label_examples": []}, "must be rows of 2 finite numbers"),
        ({"label_kind": "vectors", "label_examples": 3}, "must be rows of 2 finite numbers"),
        ({"label_kind": "vectors", "label_examples": [[1.0, 2.0, 3.0]]}, "must be rows of 2"),
        ({"label_kind": "vectors", "label_examples": [[1.0, "2"]]}, "must be rows of 2"),
        ({"label_kind": "vectors", "label_examples": [[1.0, True]]}, "must be rows of 2"),
        ({"label_kind": "vectors", "label_examples": [[1.0, 1e300]]}, "must be rows of 2"),
        ({"label_kind": "vectors", "label_examples": [[1.0, float("nan")]]}, "must be rows of 2"),
        ({"label_kind": "vectors", "label_examples": [[1.0, 10**400]]}, "must be rows of 2"),
    ],
)
def test_damaged_facts_are_named_with_their_file(facts: dict[str, Any], says: str, tmp_path: Path) -> None:
    conditional().save(tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**description, "data": facts}))
    with pytest.raises(ValueError, match=rf"{tmp_path}/model.json: .*{says}") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_denoiser_of_vectors_refuses_class_indices() -> None:
    model = conditional(label_kind="vectors")
    for wrong in (torch.tensor([0, 1, 1]), torch.tensor([0.5, 1.0]), [0, 1, 1], torch.tensor(1)):
        with pytest.raises(ValueError, match=r"this denoiser takes label vectors, so give rows \(B, 2\)"):
            model(X, 1.0, wrong)
    # Rows that a denoiser of classes takes for soft labels are the same rows here.
    rows = torch.tensor(EXAMPLES)
    assert torch.equal(model(X, 1.0, rows), conditional()(X, 1.0, rows))
    torch.testing.assert_close(model(X, 1.0, rows[:1]), model(X, 1.0, rows[[0, 0, 0]]))
    assert not torch.allclose(model(X, 1.0, rows), model(X, 1.0, rows.flip(0)), atol=1e-3)


def test_no_label_is_a_row_of_zeros() -> None:
    model = conditional(label_kind="vectors")
    torch.testing.assert_close(model(X, 1.0), model(X, 1.0, torch.zeros(3, 2)))
    assert not torch.allclose(model(X, 1.0), model(X, 1.0, torch.tensor(EXAMPLES)), atol=1e-3)


def test_a_denoiser_of_classes_still_takes_indices() -> None:
    assert torch.equal(conditional()(X, 1.0, torch.tensor([0, 1, 1])), conditional()(X, 1.0, torch.eye(2)[[0, 1, 1]]))
    assert label_rows([1], 2).tolist() == [[0, 1]]
