"""An examination of this machine: what there is to compute with, where things are kept, and what each extra adds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from elucidiff.devices import choose_device
from elucidiff.launch.machine import available_memory, physical_cores

EXTRAS = {
    "diffusers": ("diffusers", "opens pipeline folders of diffusers, and runs our solvers inside their pipelines"),
    "explore": ("gradio", "opens a page on which every choice of sampling is moved, and seen at work"),
    "hub": ("huggingface_hub", "loads models from the Hugging Face Hub, and publishes them there"),
    "onnx": ("onnxruntime", "computes small networks faster on a CPU, and writes a model as one ONNX file"),
    "search": ("optuna", "searches sampling options (`elucidiff search`), in many processes"),
    "evaluate": ("torch_fidelity", "measures FID and the like with features of networks (`elucidiff evaluate`)"),
}
"""Optional parts of the installation: the package that tells whether it is there, and what it is for."""

_GIB = 2**30
_LITTLE_DISK, _LITTLE_MEMORY = 5 * _GIB, 2 * _GIB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        found: what was found, in words.
        advice: what to do about it; empty where nothing is to be done.
        ok: False where it stands in the way of work, or of speed.
    """

    subject: str
    found: str
    advice: str = ""
    ok: bool = True


def examine(folder: str | os.PathLike[str] = ".") -> list[Finding]:
    """Look at the machine: Python, PyTorch, device, threads, memory, compiler, disk, caches, extras.

    Nothing is computed, written or downloaded.

    Args:
        folder: where runs would be written.

    >>> import elucidiff as ed
    >>> from elucidiff.examination import examine
    >>> [finding.subject for finding in examine()][:3]
    ['elucidiff', 'Python', 'PyTorch']
    """
    from elucidiff import __version__

    return [
        Finding("elucidiff", __version__),
        Finding("Python", f"{platform.python_version()} at {sys.executable}"),
        Finding("PyTorch", torch.__version__),
        _device(),
        _threads(),
        *_memory(),
        _compiler(),
        _disk(Path(folder)),
        _data_folder(),
        *_extras(),
    ]


def _device() -> Finding:
    device = choose_device("auto")
    if device.type == "cuda":
        names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        found = ", ".join(f"{each.name} with {each.total_memory / _GIB:.0f} GiB" for each in names)
        return Finding("device", f"cuda: {found}")
    if device.type == "mps":
        return Finding("device", "mps: the GPU of this Mac; solvers keep their state in float32 there")
    built = torch.version.cuda
    if built is not None:
        return Finding("device", f"cpu: PyTorch was built for CUDA {built}, but finds no GPU of NVIDIA")
    return Finding("device", "cpu: this PyTorch was built without CUDA")


def _threads() -> Finding:
    cores, threads = physical_cores(), torch.get_num_threads()
    found = (
        f"{cores} physical {'core' if cores == 1 else 'cores'}, {threads} {'thread' if threads == 1 else 'threads'}"
    )
    limit = os.environ.get("OMP_NUM_THREADS")
    if limit is not None:
        found += f" (OMP_NUM_THREADS is {limit})"
    if threads > cores:
        return Finding("threads", found, f"more threads than cores are slower: set OMP_NUM_THREADS={cores}", ok=False)
    return Finding("threads", found)


def _memory() -> Iterator[Finding]:
    free = available_memory()
    if free is not None:
        little = free < _LITTLE_MEMORY
        advice = "close other programs, or take a small --batch-size" if little else ""
        yield Finding("memory", f"{free / _GIB:.1f} GiB free", advice, ok=not little)


def _compiler() -> Finding:
    name = os.environ.get("CXX") or next((each for each in ("g++", "clang++") if shutil.which(each)), None)
    if name is None or shutil.which(name) is None:
        advice = "install g++ for `--compile` and `--backend compile`, which make long runs faster"
        return Finding("C++ compiler", "none", advice, ok=False)
    return Finding("C++ compiler", f"{shutil.which(name)}, for --compile and --backend compile")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    little = free < _LITTLE_DISK
    advice = (
        "checkpoints and samples take room: free some, or write elsewhere by --run-dir and --out" if little else ""
    )
    return Finding("disk", f"{free / _GIB:.1f} GiB free in {folder.resolve()}", advice, ok=not little)


def _data_folder() -> Finding:
    from elucidiff.data import data_root

    root = data_root()
    kept = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    return Finding(
        "named data sets", f"in {root}: {', '.join(kept) or 'none yet'}; ELUCIDIFF_DATA sets another place"
    )


def _extras() -> Iterator[Finding]:
    for extra, (package, use) in EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            yield Finding(f"extra {extra}", f"not installed: {use}", f"pip install 'elucidiff[{extra}]'")
        else:
            yield Finding(f"extra {extra}", f"{package} {_version(package)}: {use}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
