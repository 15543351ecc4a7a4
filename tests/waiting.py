"""What makes the processor wait for an accelerator, found without one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Reading a number, or shapes that depend on the values.
WAITING = (
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive",
    "bincount", "repeat_interleave.Tensor",
)  # fmt: skip


class Waits(TorchDispatchMode):
    """Lists the operations that would wait, and refuses nothing.

    If the device is "meta", where nothing has values, the CPU is another device, whose own numbers may be read; but
    copies from one to the other wait, unless they are told not to.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func).removeprefix("aten."), kwargs or {}
        result = func(*args, **kwargs)
        given = [
            x for arg in args for x in (arg if isinstance(arg, list | tuple) else [arg]) if isinstance(x, Tensor)
        ]
        here = any(x.device.type == self.device for x in given)
        reads = name.startswith(WAITING) or (name.startswith("index") and any(map(_is_mask, given)))
        made = [result] if isinstance(result, Tensor) else []
        # A single number of the CPU goes along with the call.
        crosses = len({x.device.type for x in [*given, *made] if x.ndim or "copy" in name}) > 1
        told = kwargs.get("non_blocking", False) or (name.startswith("copy_") and args[2:3] == (True,))
        if (reads and here) or (crosses and not told):
            self.found.append(name)
        return result


class OnDevice(Tensor):
    """Stands for a tensor on an accelerator: lists the calls that would fetch it. What is made of it is one, too.

    ``cpu()`` gives an ordinary tensor.
    """

    fetched: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        fetches = name in ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__")
        shaped = name in ("nonzero", "unique", "masked_select", "equal", "allclose")
        if fetches or shaped or (name in ("__getitem__", "__setitem__") and _is_mask(args[1])):
            cls.fetched.append(name)
        result = super().__torch_function__(func, types, args, kwargs or {})
        return result.as_subclass(Tensor) if name == "cpu" else result


def _is_mask(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool
