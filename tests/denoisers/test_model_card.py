"""Model cards: what a model's description says, as the Hub reads it; nothing invented, nothing of somebody's lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import elucidiff as ed
from elucidiff.denoisers import model_folder
from elucidiff.denoisers.model_card import card


def model(label_dim: int = 0) -> ed.Denoiser:
    torch.manual_seed(0)
    network = ed.networks.UNet.ddpmpp(
        (1, 8, 8), base_channels=4, channel_multipliers=(1,), blocks_per_level=1, label_dim=label_dim
    )
    return ed.Denoiser(network, ed.preconditioning.EDM()).eval()


def test_the_hub_reads_what_is_known(tmp_path: Path) -> None:
    denoiser = model()
    denoiser.facts |= {
        "data": {"name": "digits", "count": 1797, "dtype": "uint8", "sigma_data": 0.75},
        "provenance": {"program": "elucidiff 0.1.0", "images_seen": 2048, "training": {"batch_size": 32}},
        "license": "mit",
        "metrics": {"FID": 3.25},
    }
    denoiser.save(tmp_path / "my model")
    read = ModelCard.load(tmp_path / "my model" / "README.md")
    assert (read.data.library_name, read.data.license, read.data.tags) == (
        "elucidiff",
        "mit",
        ["elucidiff", "diffusion"],
    )
    assert read.data.pipeline_tag == "unconditional-image-generation"
    (result,) = read.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("FID", 3.25, "digits")
    assert read.data.model_name == "my model"
    count = sum(each.numel() for each in denoiser.parameters())
    for line in (
        "| training data | digits |",
        "| samples | 1797 |",
        "| standard deviation | 0.75 |",
        f"| parameters | {count:,} |" if count >= 10_000 else f"| parameters | {count} |",
        "| sample shape | 1, 8, 8 |",
        "| FID | 3.25 |",
        "| training: batch size | 32 |",
        "| images seen | 2048 |",
    ):
        assert line in read.text.splitlines(), line


def test_a_tuned_model_is_sampled_in_its_own_way() -> None:
    usual, tuned = (card({"data": {}, **more}) for more in ({}, {"tuned": {"original": "runs/digits/model"}}))
    assert 'ed.sample(denoiser, 16, "karras:n=18")' in usual
    assert "ed.sample(denoiser, 16)" in tuned
    assert "Tuned for few evaluations" in tuned
    assert "Tuned for few evaluations" not in usual


def test_what_nobody_says_is_unknown(tmp_path: Path) -> None:
    model(3).save(tmp_path / "model")
    read = ModelCard.load(tmp_path / "model" / "README.md")
    assert read.data.license == "unknown"
    assert read.data.pipeline_tag is None
    assert read.data.eval_results is None
    for line in ("| training data | unknown |", "| how it came to be | unknown |", "Not evaluated.", "unknown"):
        assert line in read.text.splitlines(), line


def test_somebody_s_own_card_stays_and_ours_follows_the_model(tmp_path: Path) -> None:
    denoiser, folder = model(), tmp_path / "model"
    denoiser.save(folder)
    denoiser.facts["data"] = {"name": "digits"}
    denoiser.save(folder)
    file = folder / "README.md"
    assert "| training data | digits |" in file.read_text()
    before = model_folder.checksum(folder)
    file.write_text(file.read_text().replace("unknown", "told"))
    denoiser.facts["data"] = {"name": "faces"}
    denoiser.save(folder)
    assert "| training data | digits |" in file.read_text()
    assert before != model_folder.checksum(folder)  # of the data, which changed
    after = model_folder.checksum(folder)
    file.write_text("# Mine\n")
    assert model_folder.checksum(folder) == after
    assert "data" in ed.load(folder).facts
    file.unlink()  # as in folders of before
    assert model_folder.checksum(folder) == after
    ed.load(folder)


def test_the_same_model_has_the_same_card(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model().save(tmp_path / name / "model")
    assert (tmp_path / "a/model/README.md").read_bytes() == (tmp_path / "b/model/README.md").read_bytes()


def test_texts_of_somebody_mean_nothing(tmp_path: Path) -> None:
    hostile = "a\n---\n| x | <script>\x1b[2J " + "y" * 5000
    text = card(
        {"data": {"name": hostile, "class_names": [hostile]}, "license": hostile, "provenance": {hostile: hostile}},
        hostile,
    )
    (tmp_path / "README.md").write_text(text)
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.tags == ["elucidiff", "diffusion"]
    assert read.data.license.startswith("a --- ")
    assert text.count("\n---\n") == 1
    assert "<script>" not in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 1000


@pytest.mark.parametrize("label_dim", [0, 3])
def test_saved_and_read_under_the_hub_s_names(label_dim: int, tmp_path: Path) -> None:
    denoiser = model(label_dim)
    assert denoiser.save_pretrained(tmp_path / "model") is None
    again = ed.Denoiser.from_pretrained(tmp_path / "model")
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), denoiser.parameters(), strict=True))
    assert sorted(each.name for each in (tmp_path / "model").iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]


def test_a_model_that_was_downloaded_before_needs_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As huggingface_hub lays out its cache.
    at = tmp_path / "models--somebody--digits"
    commit = "0" * 40
    model().save(at / "snapshots" / commit)
    (at / "refs").mkdir()
    (at / "refs" / "main").write_text(commit)
    again = ed.Denoiser.from_pretrained("somebody/digits", cache_dir=tmp_path, local_files_only=True)
    assert torch.equal(next(again.parameters()), next(model().parameters()))
    monkeypatch.chdir(tmp_path)  # beside which there is no such folder, wherever the tests are run
    for name in ("somebody/other", "no name at all", "../../nowhere"):
        with pytest.raises(FileNotFoundError, match="is no folder, and not found on the Hub") as caught:
            ed.Denoiser.from_pretrained(name, cache_dir=tmp_path, local_files_only=True)
        assert "\n" not in str(caught.value)


def test_published_with_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against an interface that notes what it is asked: nothing is uploaded in tests."""
    calls: list[tuple[str, object]] = []

    class Api:
        def __init__(self, token: object = None) -> None:
            calls.append(("token", token))

        def create_repo(self, repo_id: str, **options: object) -> object:
            calls.append(("create", (repo_id, options)))
            return type("Url", (), {"repo_id": f"me/{repo_id}"})()

        def upload_folder(self, *, repo_id: str, folder_path: Path, **options: object) -> str:
            calls.append(("upload", (repo_id, sorted(each.name for each in Path(folder_path).iterdir()))))
            return "https://huggingface.co/me/digits/commit/1"

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert model().push_to_hub("digits", private=True, token="t").endswith("commit/1")
    assert calls == [
        ("token", "t"),
        ("create", ("digits", {"private": True, "exist_ok": True})),
        ("upload", ("me/digits", ["README.md", "model.json", "model.safetensors"])),
    ]
    assert model().save_pretrained(tmp_path / "kept", push_to_hub=True).endswith("commit/1")
    assert json.loads((tmp_path / "kept" / "model.json").read_text())["format"] == "elucidiff-model"
