"""State dicts of other people's networks: safetensors, and PyTorch's checkpoints read as data alone.

:func:`read` takes files, several parts of one state dict, or a folder of them; :func:`fit` puts what they hold into a
network that names its weights as the library does. Nothing of a file is run: pickles go through PyTorch's
``weights_only`` reader, which builds tensors and plain containers and refuses every other name, and what a file says
of its sizes is held against the size of the file.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from elucidiff.untrusted import clipped, open_regular, printable, reading

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_MOST_TENSORS = 1 << 14
_MOST_TIMES = 4
_PART = re.compile(r"(.*?)[-_](\d+)(-of-\d+)?\.safetensors")


def read(path: Source) -> dict[str, Any]:
    """All that is stored in one or several files: tensors by name, and for a checkpoint the containers around them.

    Args:
        path: a file of safetensors or a PyTorch checkpoint; a list of files that are parts of one state dict; one
            part of several, named ``..._0.safetensors`` or ``...-00001-of-00003.safetensors``, for all of them; or a
            folder with such files, or with a single one.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, of another format, needs more than a plain reader, or says a weight twice. The
            message names the file.
    """
    found: dict[str, Any] = {}
    for file in _files(path):
        content = _safetensors(file) if _is_safetensors(file) else _checkpoint(file)
        twice = sorted(found.keys() & content.keys())
        if twice:
            raise ValueError(
                f"{printable(str(file))} holds {clipped(str(twice[0]))} again, which an earlier part has"
            )
        found |= content
    return found


def naming(path: Source) -> AbstractContextManager[None]:
    """Name the file, or the first of its parts, in what goes wrong within: see :func:`.untrusted.reading`."""
    return reading(path if isinstance(path, str | os.PathLike) else path[0])


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text entries that a safetensors file has beside its tensors; none for another file.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged. The message names the file.
    """
    if not _is_safetensors(Path(path)):
        return {}
    with reading(path), safe_open(os.fspath(path), "pt") as file:
        return dict(file.metadata() or {})


def tensors(entries: Any, where: str) -> dict[str, Tensor]:
    """Those of a state dict, for one in a checkpoint.

    Raises:
        ValueError: ``entries`` is no state dict. The message calls it ``where``.
    """
    if not isinstance(entries, Mapping):
        raise ValueError(f"{where} is no state dict, but of type {type(entries).__name__}")
    return {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, Tensor)}


def fit(network: nn.Module, weights: Mapping[str, Tensor], *, spare: Sequence[str] = ()) -> None:
    """Give a network on the device "meta" its weights, in float32 (float64 if all of them are), in place.

    Names may all begin with the same words, as a wrapper adds them (``module.``, ``model.``); the network's own are
    found behind these, and what does not begin so is left alone.

    Args:
        network: its parameters and buffers have the library's names.
        weights: the state dict.
        spare: patterns of names, whole and behind those words, that the library stores and the network does not need.

    Raises:
        ValueError: weights are missing, unexpected, of a wrong shape or not finite.
    """
    wanted = network.state_dict()
    beginning = _common_beginning(wanted, weights)
    given = {name[len(beginning) :]: value for name, value in weights.items() if name.startswith(beginning)}
    unexpected = [name for name in given.keys() - wanted.keys() if not any(re.fullmatch(p, name) for p in spare)]
    for what, names in (("lack", wanted.keys() - given.keys()), ("have, unexpectedly,", unexpected)):
        if names:
            first, more = sorted(names)[:3], f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"the weights {what} {', '.join(map(clipped, first))}{more}: they belong to other settings"
            )
    double = all(given[name].dtype == torch.float64 for name in wanted)
    ready = {}
    for name, place in wanted.items():
        value = given[name]
        if value.shape != place.shape:
            raise ValueError(
                f"the weights {name} have shape {tuple(value.shape)}, where {tuple(place.shape)} is needed"
            )
        kept = torch.float64 if double or place.dtype == torch.float64 else torch.float32
        ready[name] = value.detach().to("cpu", kept, copy=True).contiguous()
        check_finite(name, ready[name])
    network.load_state_dict(ready, assign=True)


def check_finite(name: str, value: Tensor, what: str = "the weights") -> None:
    """Raise ValueError if a tensor holds NaN or infinity; ``what`` is said before its name."""
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise ValueError(f"{what} {name} are not all finite")


def _common_beginning(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """The words before the network's own names for which most of them are there."""
    first = min(wanted, key=lambda name: (-name.count("."), name))  # the deepest: others are the end of many names
    beginnings = {name[: -len(first)] for name in weights if name.endswith(first)}
    beginnings = {b for b in beginnings if not b or b[-1] in "./"} | {""}
    return max(sorted(beginnings), key=lambda b: sum(b + name in weights for name in wanted))


def _files(path: Source) -> list[Path]:
    if not isinstance(path, str | os.PathLike):
        if not path:
            raise ValueError("there are no files of weights: the list of them is empty")
        return [Path(file) for file in path]
    one = Path(path)
    if not one.is_dir():
        return _parts(one)
    inside = sorted(file for file in one.iterdir() if file.suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt"))
    numbered = [file for file in inside if _PART.fullmatch(file.name)]
    if numbered and len({_PART.fullmatch(file.name)[1] for file in numbered}) == 1:  # type: ignore[index]
        return numbered
    if len(inside) != 1:
        names = ", ".join(printable(file.name) for file in inside[:5]) or "none"
        raise ValueError(f"the folder {printable(str(one))} has not one file of weights, but {names}: name the file")
    return inside


def _parts(file: Path) -> list[Path]:
    """All parts of the state dict of which ``file`` is one, by their numbers."""
    named = _PART.fullmatch(file.name)
    if named is None or not file.exists():
        return [file]
    fellows = [fellow for fellow in file.parent.iterdir() if (m := _PART.fullmatch(fellow.name)) and m[1] == named[1]]
    return sorted(fellows, key=lambda fellow: int(_PART.fullmatch(fellow.name)[2]))  # type: ignore[index]


def _is_safetensors(file: Path) -> bool:
    """By its content: the length of a header, eight bytes, and the brace with which that begins."""
    with open_regular(file) as opened:
        start = opened.read(9)
    return len(start) == 9 and start[8:] == b"{"


def _safetensors(file: Path) -> dict[str, Tensor]:
    with reading(file), safe_open(os.fspath(file), "pt") as opened:
        names = list(opened.keys())
        if len(names) > _MOST_TENSORS:
            raise ValueError(f"it holds {len(names)} tensors, more than any network")
        return {name: opened.get_tensor(name) for name in names}


def _checkpoint(file: Path) -> dict[str, Any]:
    with reading(file):
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            if zipfile.is_zipfile(opened):
                opened.seek(0)
                with zipfile.ZipFile(opened) as archive:
                    entries = archive.infolist()
                # PyTorch stores its entries as they are; a compressed one could be of any size.
                if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size for entry in entries):
                    raise ValueError("it is a zip archive, but not one that PyTorch wrote")
            opened.seek(0)
            content = torch.load(opened, map_location="cpu", weights_only=True)
        if not isinstance(content, Mapping):
            raise ValueError(f"it is no checkpoint: it holds a {type(content).__name__}, not weights by name")
        # A checkpoint may hold a model several times, once in the file; but views of few values can stand for any
        # number of them.
        if sum(value.numel() * value.element_size() for value in _all_tensors(content)) > _MOST_TIMES * size:
            raise ValueError("its weights are larger than the file: they share their values")
        return dict(content)


def _all_tensors(content: Any, depth: int = 0) -> list[Tensor]:
    if isinstance(content, Tensor):
        return [content]
    entries = content.values() if isinstance(content, Mapping) else content
    if depth > 8 or not isinstance(content, Mapping | list | tuple):
        return []
    return [tensor for entry in entries for tensor in _all_tensors(entry, depth + 1)]
