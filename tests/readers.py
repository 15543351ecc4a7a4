"""All that reads what somebody hands in, each with a small sound file to damage: see ``tests/fuzz_readers.py``."""

from __future__ import annotations

import gzip
import io
import json
import pickletools
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import PIL.Image
import pyarrow
import pyarrow.compute
import torch
from pyarrow import parquet
from safetensors.torch import save_file

import elucidiff as ed
from elucidiff import data, networks
from elucidiff.data.npy import read_arrays
from elucidiff.design import preconditioning
from elucidiff.evaluation.search.storage import open_storage, storage_errors
from elucidiff.figures.base import Numbers, read_numbers
from elucidiff.interop import flow_matching, lucidrains, nvlabs, openai, physicsnemo, score_sde
from elucidiff.sampling.given import labels_asked_for
from elucidiff.sampling.likelihood.measuring import read_record
from elucidiff.sampling.saved_samplers import NamedSampler, read_named, save_named
from elucidiff.training.config import TrainingConfig
from elucidiff.training.metrics import metrics_until
from tests.data.pictures import encoded, noise
from tests.golden_files import GOLDEN
from tests.interop.autoencoders.made import encoder, write_pair
from tests.interop.foreign import FOREIGN, golden, state_dict
from tests.interop.training_states import state_of

# What is imported when it is needed would else be imported while somebody watches.
PIL.Image.init()
LIBRARIES = (flow_matching, lucidrains, nvlabs, openai, physicsnemo, score_sde)

Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Damaged:
    """A file that will be damaged, and what reads it.

    Attributes:
        path: of the file, which is there and sound.
        reader: is given the path, and reads the file or what it is a part of.
        places: positions in it that matter.
        writes: whether reading it may write.
    """

    path: Path
    reader: Reader
    places: Sequence[int] = ()
    writes: bool = False


def _everything(path: Path) -> None:
    """Open a data set and look at each image."""
    dataset = data.open(path)
    for row in range(len(dataset)):
        dataset[row]


def _naming(path: Path, read: Reader, *others: str) -> Reader:
    """A reader of a folder; which of its files is wrong cannot always be told, as they do not fit each other.

    Args:
        path: the folder.
        read: reads it.
        others: what a message may say in place of the folder's path, such as the name of a file.
    """

    def reader(file: Path) -> None:
        try:
            read(path)
        except ValueError as error:
            text = str(error)
            if str(path) not in text and not any(other in text for other in others):
                raise
            raise ValueError(f"{file.name}: {text}") from None

    return reader


def _file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _saved(save: Callable[..., Any], *arguments: Any, **named: Any) -> bytes:
    file = io.BytesIO()
    save(file, *arguments, **named)
    return file.getvalue()


def _pixels() -> Any:
    return np.random.default_rng(0).integers(0, 256, (4, 3, 4, 4), np.uint8)


def _both_ends(content: bytes, head: int, tail: int) -> list[int]:
    return [*range(min(head, len(content))), *range(max(0, len(content) - tail), len(content))]


def _data_file(name: str, content: Callable[[], bytes]) -> Callable[[Path], Damaged]:
    def make(folder: Path) -> Damaged:
        sound = content()
        return Damaged(_file(folder / name, sound), _everything, _both_ends(sound, 128, 400))

    return make


def _zipped(save: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", save) as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", encoded(noise(number)))
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{number}.png", number] for number in range(3)]}))
    return file.getvalue()


def _label_file(name: str, text: str) -> Callable[[Path], Damaged]:
    """A file of labels beside three pictures."""

    def make(folder: Path) -> Damaged:
        for number in range(3):
            _file(folder / "set" / f"{number}.png", encoded(noise(number)))
        path = _file(folder / "set" / name, text.encode())
        return Damaged(path, _naming(path.parent, _everything, "holds no images"))

    return make


def _imported(name: str) -> Callable[[Path], Damaged]:
    def make(folder: Path) -> Damaged:
        np.savez(folder / "x.npz", images=_pixels(), labels=np.array(["cat", "dog", "cat", "dog"]))
        data.import_dataset(folder / "x.npz", folder / "set")
        path = folder / "set" / name

        def verified(folder: Path) -> None:
            dataset = data.open(folder)
            dataset.verify()
            pixels = np.stack([dataset[row][0] for row in range(4)])
            # The checksums are of the arrays; another class name in meta.json is another class name.
            assert name == "meta.json" or dataset.class_names == ("cat", "dog")
            assert name == "meta.json" or np.array_equal(pixels, _pixels())

        return Damaged(path, _naming(path.parent, verified, "set has changed"), range(120))

    return make


def _idx(packed: bool) -> Callable[[Path], Damaged]:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 3, *range(36)])

    def make(folder: Path) -> Damaged:
        _file(folder / "set" / "train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 1]))
        name = "train-images-idx3-ubyte" + (".gz" if packed else "")
        path = _file(folder / "set" / name, gzip.compress(images) if packed else images)
        return Damaged(path, _naming(path.parent, _everything), range(16))

    return make


def _snapshot(name: str) -> Callable[[Path], Damaged]:
    def make(folder: Path) -> Damaged:
        sound = (GOLDEN / name).read_bytes()
        places = [position for _, _, position in pickletools.genops(sound) if position is not None]
        return Damaged(_file(folder / "damaged.pkl", sound), nvlabs.load, places)

    return make


def _training_state(folder: Path) -> Damaged:
    path = state_of("j_pickles/adm_mult_cond", folder / "damaged.pt")
    size = path.stat().st_size
    return Damaged(path, nvlabs.load, [*range(0, 12000, 11), *range(max(0, size - 12000), size, 11)])


def _checkpoint(name: str, read: Reader, old: bool = False) -> Callable[[Path], Damaged]:
    """A checkpoint of PyTorch, as a zip archive or in the form from before."""

    def make(folder: Path) -> Damaged:
        path = folder / "damaged.pt"
        torch.save(state_dict(FOREIGN / f"{name}.safetensors"), path, _use_new_zipfile_serialization=not old)
        size = path.stat().st_size
        return Damaged(path, read, [*range(0, 4000, 7), *range(max(0, size - 8000), size, 7)])

    return make


def _lucid(path: Path) -> Any:
    case = golden("lucidrains", "x0_cosine")[1]
    return lucidrains.load(path, case["wrapper"], case["unet"], **case["wrapper_settings"])


def _adm(path: Path) -> Any:
    return openai.load(path, **golden("openai", "legacy_heads")[1]["flags"])


def _k_diffusion(folder: Path) -> Damaged:
    home, case, _ = golden("k_diffusion", "plain")
    path = folder / "damaged.safetensors"
    save_file(state_dict(home / "weights_0.safetensors"), path, metadata={"config": json.dumps(case["config"])})
    return Damaged(path, ed.load, range(8 + int.from_bytes(path.read_bytes()[:8], "little")))


def _diffusers(name: str) -> Callable[[Path], Damaged]:
    """A folder with a network's settings and weights beside those of its scheduler."""

    def make(folder: Path) -> Damaged:
        home = FOREIGN / "diffusers" / "eps"
        pipeline = folder / "pipeline"
        _file(pipeline / "config.json", (home / "unet" / "config.json").read_bytes())
        scheduler = home / "ddim_default" / "scheduler_config.json"
        _file(pipeline / "scheduler_config.json", scheduler.read_bytes())
        weights = home / "unet" / "diffusion_pytorch_model.safetensors"
        _file(pipeline / weights.name, weights.read_bytes())
        return Damaged(pipeline / name, _naming(pipeline, ed.load, *(file.name for file in pipeline.iterdir())))

    return make


def _model(name: str) -> Callable[[Path], Damaged]:
    def make(folder: Path) -> Damaged:
        _small_model().save(folder / "model")

        def reader(folder: Path) -> None:
            known = ed.load(folder).known_labels
            assert len(known.names) in (0, 2)
            assert known.shares().isprintable()
            assert known.draw(lambda high: torch.arange(high)[:3]).shape[1] == 2

        path = folder / "model" / name
        return Damaged(path, _naming(path.parent, reader, "model.json", "model.safetensors"))

    return make


def _numbers(folder: Path) -> Damaged:
    arrays = {"x": np.linspace(0, 1, 5), "y": np.arange(12.0).reshape(3, 4)}
    path = Numbers("curve", "elucidiff curve", {"title": "a"}, arrays).save(folder / "numbers.npz")
    return Damaged(path, read_numbers, _both_ends(path.read_bytes(), 100, 300))


def _statistics(folder: Path) -> Damaged:
    path = folder / "statistics.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    return Damaged(path, read_arrays, _both_ends(path.read_bytes(), 200, 300))


def _small_model() -> ed.Denoiser:
    network = networks.UNet((1, 4), base_channels=4, channel_multipliers=(1,), blocks_per_level=0, label_dim=2)
    denoiser = ed.Denoiser(network, preconditioning.EDM())
    denoiser.facts["data"] |= {"class_names": ["cat", "dog"], "class_counts": [9, 1]}
    return denoiser


def _labels_npy(folder: Path) -> Damaged:
    denoiser = _small_model()
    path = folder / "labels.npy"
    np.save(path, np.array([0, 1, 1, 0]))
    return Damaged(path, lambda file: labels_asked_for(str(file), denoiser), range(128))


def _likelihoods(folder: Path) -> Damaged:
    images = [
        {"image": k, "bits_per_dim": 3.5, "standard_error": 0.1, "repeats": [3.4], "nfe": 40, "backward_passes": 2}
        for k in range(3)
    ]
    record = {"measurement": {"steps": "karras"}, "images": images}
    path = _file(folder / "likelihoods.json", json.dumps(record, indent=1).encode())
    return Damaged(path, lambda file: read_record(file, {"steps": "karras"}))


def _sampler(folder: Path) -> Damaged:
    named = NamedSampler(
        "ours", ed.Sampler("karras:n=8"), "0" * 64, 15, 0.01, 0.001, "0-7", 0.02, 7.0, None, "elucidiff steps"
    )
    return Damaged(save_named(folder, named), read_named)


def _settings(folder: Path) -> Damaged:
    path = folder / "config.yaml"
    TrainingConfig(data="digits").save(path)
    return Damaged(path, TrainingConfig.load)


def _study(folder: Path) -> Damaged:
    path = folder / "search.journal"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=open_storage(str(path)), study_name="a")
    for value in (0.25, 0.5):
        trial = study.ask()
        trial.suggest_float("rho", 1, 10)
        trial.set_user_attr("nfe", 35)
        study.tell(trial, value)

    def reader(file: Path) -> None:
        with storage_errors(str(file)):
            storage = open_storage(str(file))
            for found in storage.get_all_studies():
                storage.get_all_trials(found._study_id)

    return Damaged(path, reader, writes=True)


def _training_log(folder: Path) -> Damaged:
    lines = [{"images": 100 * k, "loss": 0.5 / (k + 1), "lr": 1e-3} for k in range(4)]
    path = _file(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    return Damaged(path, lambda file: metrics_until(file.parent, 300))


def _picture(kind: str, **options: Any) -> Callable[[Path], Damaged]:
    def make(folder: Path) -> Damaged:
        content = encoded(noise(0, 20, 30), kind, **options)
        path = _file(folder / "set" / f"x.{kind}", content)
        return Damaged(path, _naming(path.parent, _everything, "holds no images"), range(200))

    return make


def _parquet(folder: Path) -> Damaged:
    table = pyarrow.table({
        "image": [{"bytes": encoded(noise(k)), "path": f"{k}.png"} for k in range(3)],
        "label": [0, 1, 0],
    })  # fmt: skip
    path = folder / "x.parquet"
    parquet.write_table(table, path, write_page_checksum=True)
    content = path.read_bytes()
    return Damaged(path, _everything, _both_ends(content, 40, 1200))


def _onnx(folder: Path) -> Damaged:
    sound = encoder().SerializeToString()
    picture = torch.zeros(1, 3, 8, 8)
    write_pair(folder)

    def read(path: Path) -> None:
        ed.autoencoders.open_autoencoder(path).encode(picture)

    return Damaged(_file(folder / "encoder.onnx", sound), read, range(200))


READERS: dict[str, Callable[[Path], Damaged]] = {
    "snapshot-edm": _snapshot("j_pickles/adm_mult_cond.pkl"),
    "training-state": _training_state,
    "snapshot-edm2": _snapshot("m_edm2/clip_default.pkl"),
    "torch-zip": _checkpoint("lucidrains/x0_cosine/weights_0", _lucid),
    "torch-legacy": _checkpoint("openai/legacy_heads/weights_0", _adm, old=True),
    "k-diffusion": _k_diffusion,
    "diffusers-config": _diffusers("config.json"),
    "diffusers-scheduler": _diffusers("scheduler_config.json"),
    "diffusers-weights": _diffusers("diffusion_pytorch_model.safetensors"),
    "onnx": _onnx,
    "model-json": _model("model.json"),
    "model-weights": _model("model.safetensors"),
    "sampler": _sampler,
    "config-yaml": _settings,
    "likelihoods": _likelihoods,
    "study": _study,
    "training-log": _training_log,
    "numbers": _numbers,
    "statistics": _statistics,
    "labels-npy": _labels_npy,
    "zip": _data_file("x.zip", _zipped),
    "zip-packed": _data_file("x.zip", lambda: _zipped(zipfile.ZIP_DEFLATED)),
    "npy": _data_file("x.npy", lambda: _saved(np.save, _pixels())),
    "npz": _data_file("x.npz", lambda: _saved(np.savez, images=_pixels(), labels=np.array([0, 1, 0, 1]))),
    "npz-packed": _data_file("x.npz", lambda: _saved(np.savez_compressed, images=_pixels())),
    "parquet": _parquet,
    "csv": _data_file("x.csv", lambda: b"label,a,b\n0,1.5,2\n1,2.5,3\n0,0.5,1\n"),
    "dataset-json": _label_file("dataset.json", '{"labels": [["0.png", 0], ["1.png", 1], ["2.png", 0]]}'),
    "dataset-json-names": _label_file("dataset.json", '{"labels": {"0.png": "cat", "1.png": "dog", "2.png": "cat"}}'),
    "labels-csv": _label_file("labels.csv", "file_name,label\n0.png,cat\n1.png,dog\n2.png,cat\n"),
    "metadata-jsonl": _label_file(
        "metadata.jsonl", "".join(f'{{"file_name": "{k}.png", "label": "cat{k % 2}"}}\n' for k in range(3))
    ),
    "imported-meta": _imported("meta.json"),
    "imported-images": _imported("images.npy"),
    "imported-labels": _imported("labels.npy"),
    "idx": _idx(False),
    "idx-packed": _idx(True),
    "png": _picture("png"),
    "jpeg": _picture("jpeg"),
    "webp": _picture("webp"),
    "gif": _picture("gif"),
    "bmp": _picture("bmp"),
    "tiff": _picture("tiff"),
    "tiff-packed": _picture("tiff", compression="tiff_lzw"),
    "ppm": _picture("ppm"),
    "avif": _picture("avif"),
    "jpeg2000": _picture("jpeg2000"),
}  # fmt: skip
