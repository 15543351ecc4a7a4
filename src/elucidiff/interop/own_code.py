"""A model whose network the user's own code builds, as a folder: its weights, and the name of the function.

``own-code.json`` says which function makes the model, as ``module:function``; ``weights.safetensors`` holds all its
weights. Nothing is imported because a file says so: the user names the module, ``--plugin MODULE``, and a folder
whose module was not named is refused in a line that says which it needs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.model_files import first_line
from elucidiff.denoisers.opening import Factory, opens
from elucidiff.interop.weights import check_finite
from elucidiff.interop.weights_folder import WEIGHTS, WeightsFolder, card_of
from elucidiff.plugins import named_by_user
from elucidiff.untrusted import clipped, printable, reading

_KIND = WeightsFolder("elucidiff-own-code", 1, "own-code.json")

_NAME = re.compile(r"(?P<module>[A-Za-z_]\w*(\.\w+)*):(?P<function>[A-Za-z_]\w*)", re.ASCII)


def save(denoiser: DenoiserModule, factory: str, path: str | os.PathLike[str]) -> None:
    """Write the folder.

    Args:
        denoiser: what the function made.
        factory: ``module:function``.
        path: a folder to make.

    Raises:
        OSError: it cannot be written.
    """
    state = {name: value.detach().cpu().clone().contiguous() for name, value in denoiser.state_dict().items()}
    facts = {name: value for name, value in denoiser.facts.items() if name in ("data", "provenance")}
    card = card_of(facts, {"type": factory}, denoiser, denoiser.sample_shape)
    _KIND.write(path, state, {"made_by": factory, "facts": facts}, card)


def is_own_code(path: Path) -> bool:
    """True if :func:`save` wrote this folder."""
    return _KIND.is_one(path)


@opens(is_own_code)
def load(path: str | os.PathLike[str]) -> DenoiserModule:
    """Make a model whose network the user's own code builds, and give it the weights of the folder.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the user did not name the module that the folder needs; or a file is damaged, of another version,
            or does not fit what the function makes. The message names the file.
    """
    description = _KIND.description(path)
    with reading(Path(path) / _KIND.file):
        name = _NAME.fullmatch(str(description.get("made_by"))[:1000])
        if name is None:
            raise ValueError("it does not say which function makes the model, as module:function")
    factory = Factory(name["module"], name["function"])
    module = named_by_user(factory.module)
    if module is None:
        raise ValueError(
            f"{printable(os.fspath(path))} needs {factory}, code of whoever made it: name its module with --plugin "
            f"{factory.module}, or the .py file of that name (ELUCIDIFF_PLUGINS in Python)"
        )
    denoiser = factory.call(module)
    _fill(denoiser, Path(path) / WEIGHTS, str(factory))
    facts = description.get("facts")
    denoiser.facts.update(facts if isinstance(facts, dict) else {})
    return denoiser.eval()


def _fill(denoiser: nn.Module, file: Path, factory: str) -> None:
    try:
        weights = load_file(file)
    except (SafetensorError, KeyError, AttributeError) as error:
        raise ValueError(f"{printable(str(file))} is truncated or damaged: {first_line(error)}") from error
    wanted = denoiser.state_dict()
    if missing := sorted(wanted.keys() ^ weights.keys()):
        raise ValueError(f"{printable(str(file))} and {factory} differ in the weights {clipped(missing[0])}")
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{printable(str(file))}: {clipped(name)} has shape {tuple(value.shape)}, but {factory} makes "
                f"{tuple(wanted[name].shape)}"
            )
        check_finite(clipped(name), value, f"{printable(str(file))}: the weights")
    denoiser.load_state_dict(weights)
