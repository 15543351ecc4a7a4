"""Models that the user's own code makes: ``package.module:function``, or ``path/to/file.py:function``.

The user names the module, on the command line or in a call, and so it is imported; no file ever names one. The
function takes nothing and returns a denoiser, whatever it builds it from.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from elucidiff.denoisers.base import DenoiserModule, Described, as_denoiser
from elucidiff.plugins import imported
from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped, printable

_SPELLING = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.\w+)*|.*\.py):(?P<function>[A-Za-z_]\w*)", re.DOTALL)


@dataclass(frozen=True)
class Factory:
    """A function of the user's that makes a denoiser.

    Attributes:
        module: ``package.module``, or the path of a ``.py`` file.
        function: its name there.
    """

    module: str
    function: str

    @classmethod
    def spelled(cls, model: str | os.PathLike[str]) -> Factory | None:
        """The function that ``model`` names; None if it is a path, as all that exist are."""
        text = os.fspath(model)
        found = _SPELLING.fullmatch(text)
        return None if found is None or os.path.lexists(text) else cls(found["module"], found["function"])

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"

    @property
    def short(self) -> str:
        """``module:function``, of a file its name alone: what a model's folder may say of it."""
        return f"{Path(self.module).stem if self.module.endswith('.py') else self.module}:{self.function}"

    def make(self) -> DenoiserModule:
        """Call it.

        Raises:
            ValueError: there is no such module or function, it fails, or what it returns is no denoiser that says
                which shape its samples have.
        """
        return self.call(imported(self.module))

    def call(self, module: ModuleType) -> DenoiserModule:
        """:meth:`make`, from a module that was imported already."""
        name = printable(str(self))
        function = getattr(module, self.function, None)
        if function is None:
            known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
            near = suggestion(self.function, known) if known else "it has none"
            raise ValueError(f"{name}: the module has no function {self.function!r}; {near}")
        try:
            made = function if isinstance(function, nn.Module) else function()
        except (Exception, SystemExit) as error:
            text = clipped(" ".join(str(error).split()), 300)
            raise ValueError(f"{name} failed: {type(error).__name__}: {text}") from error
        denoiser = _checked(made, name)
        # Where it came from, for who writes it as a folder; a library's reader may have said more.
        home = {"format": "own_code", "settings": {}, **denoiser.facts.get("home", {})}
        denoiser.facts["home"] = {**home, "factory": self.short}
        return denoiser

    def checksum(self, denoiser: DenoiserModule) -> str:
        """SHA-256 of its name, the file of its module, and all weights of what it made."""
        total = hashlib.sha256(self.short.encode())
        source = getattr(imported(self.module), "__file__", None)
        if source is not None and Path(source).is_file():
            total.update(Path(source).read_bytes())
        total.update(weights_checksum(denoiser).encode())
        return total.hexdigest()


def weights_checksum(denoiser: nn.Module) -> str:
    """SHA-256 of the names, types and values of all parameters and buffers."""
    total = hashlib.sha256()
    for name, value in denoiser.state_dict().items():
        plain = value.detach().cpu().contiguous()
        total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        total.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _checked(made: Callable[..., Any] | None, name: str) -> DenoiserModule:
    """What a factory returned, as a denoiser in evaluation mode that can be sampled from."""
    if made is None or not callable(made) or isinstance(made, type):
        what = f"the class {made.__name__}" if isinstance(made, type) else f"a {type(made).__name__}"
        raise ValueError(f"{name} returned {'None' if made is None else what}, but must return a denoiser: {_NEEDED}")
    denoiser = as_denoiser(made).eval()
    shape = denoiser.sample_shape
    if not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(
            f"{name} returned a {type(made).__name__} that does not say its sample_shape, (C, *spatial), which "
            f"samples need: {_NEEDED}"
        )
    _refuse_other_answers(denoiser, shape, name)
    return denoiser


_NEEDED = (
    "return ed.adapters.AdaptedDenoiser(network, predicts, time, sample_shape=(1, 28, 28)), an ed.Denoiser, or "
    "anything called as D(x, sigma) with an attribute sample_shape"
)


def _refuse_other_answers(denoiser: DenoiserModule, shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless it answers a call with something like its samples."""
    if denoiser.label_dim or (denoiser.label_kind == "conditions" and not isinstance(denoiser, Described)):
        return  # it may need labels, of which nothing is known here
    sigma = denoiser.round_sigma(min(max(1.0, denoiser.sigma_min), denoiser.sigma_max))
    x = torch.zeros(1, *shape, device=denoiser.device)
    try:
        with torch.no_grad():
            got = tuple(denoiser(x, torch.as_tensor(sigma).to(x)).shape)
    except Exception as error:  # code that others make can fail in any way
        text = clipped(" ".join(str(error).split()), 300)
        raise ValueError(
            f"{name}: D(x, sigma) for x of shape {tuple(x.shape)} failed: {type(error).__name__}: {text}"
        ) from error
    if got != tuple(x.shape):
        raise ValueError(f"{name}: D(x, sigma) has shape {got} for x of shape {tuple(x.shape)}")
