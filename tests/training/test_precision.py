"""Loss scales, skipped steps and number types; the adaptive scale runs on the CPU here, as it would on CUDA."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.backends.cuda import matmul
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elucidiff import networks
from elucidiff.networks import DDPMPPSettings
from elucidiff.networks.blocks import Block
from elucidiff.training import precision, state
from elucidiff.training.batches import draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.precision import Arithmetic, check_precision, cpu_computes_bf16, cuda_products, memory_format
from elucidiff.training.state import TrainingState

CPU = torch.device("cpu")
START = 1024.0


def config(**settings: Any) -> TrainingConfig:
    network = DDPMPPSettings(base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=())
    return TrainingConfig(
        **{"data": "-", "network": network, "precision": "fp16", "batch_size": 4, "lr_ramp_images": 0.0, **settings}
    )


class OneWeight:
    """An optimiser of one weight, 1.0, with learning rate 0.1."""

    def __init__(self, **settings: Any) -> None:
        self.arithmetic = Arithmetic(config(**settings), CPU)
        self.weight = nn.Parameter(torch.ones(2))
        self.adam = torch.optim.Adam([self.weight], lr=0.1, fused=True)

    def step(self, gradient: float) -> list[float]:
        self.adam.zero_grad()
        self.arithmetic.backward((self.weight * torch.tensor([gradient, 1.0])).sum())
        self.arithmetic.step(self.adam)
        return [round(value, 4) for value in self.weight.tolist()]

    @property
    def scale(self) -> float:
        return float(self.arithmetic.state_dict()["scale"])


def test_a_gradient_that_overflows_skips_the_step_and_halves_the_scale() -> None:
    one = OneWeight()
    assert one.step(1.0) == [0.9, 0.9]
    moments = {name: value.clone() for name, value in one.adam.state[one.weight].items()}
    for bad in (float("inf"), float("nan"), 3e38):  # the last is finite until it is scaled
        before = one.scale
        assert one.step(bad) == [0.9, 0.9]
        assert one.scale == before / 2
    for name, value in one.adam.state[one.weight].items():
        assert torch.equal(value, moments[name]), name
    assert one.step(1.0) == [0.8, 0.8]
    assert one.scale == START / 8


def test_the_scale_doubles_after_2000_steps_without_overflow() -> None:
    one = OneWeight()
    one.arithmetic.load_state_dict(one.arithmetic.state_dict() | {"_growth_tracker": 1998})
    one.step(1.0)
    assert one.scale == START
    one.step(1.0)
    assert one.scale == 2 * START


def test_the_adaptive_scale_leaves_gradients_as_they_are_and_clips_them_unscaled() -> None:
    one = OneWeight(gradient_clip=1.0)
    one.step(0.75)
    assert one.weight.grad is not None
    assert one.weight.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-6)


@pytest.mark.parametrize("settings", [{"loss_scale": 100.0}, {"precision": "fp32"}, {"precision": "bf16"}])
def test_a_fixed_scale_makes_numbers_of_what_is_not_finite(settings: dict[str, Any]) -> None:
    one = OneWeight(**settings)
    one.step(float("nan"))
    assert one.weight.grad is not None
    assert one.weight.grad.tolist() == pytest.approx([0.0, 1.0])
    assert one.weight.tolist() == pytest.approx([1.0, 0.9])
    assert one.arithmetic.state_dict() == {}


@pytest.fixture
def half_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "check_precision", lambda *_: None)


@pytest.mark.usefixtures("half_on_cpu")
class TestHalfPrecisionTraining:
    def test_follows_float32(self) -> None:
        half, full = _trained(config(lr=1e-3), 4), _trained(config(precision="fp32", lr=1e-3), 4)
        assert half.meter.summary().mean == pytest.approx(full.meter.summary().mean, rel=2e-3)
        for one, other in zip(half.denoiser.parameters(), full.denoiser.parameters(), strict=True):
            assert one.dtype == half.optimiser.state[one]["exp_avg_sq"].dtype == torch.float32
            assert one.grad is not None
            assert other.grad is not None
            assert (one.grad - other.grad).norm() <= 0.05 * other.grad.norm() + 1e-3

    def test_small_gradients_survive_by_the_scale(self) -> None:
        """Unscaled, the gradient of an activation (here 1e-8) is below the smallest half-precision number."""
        for scale, expected in ((None, 1e-8), (1.0, 0.0)):
            layer = nn.Linear(4, 1, bias=False)
            arithmetic = Arithmetic(config(loss_scale=scale), CPU)
            x = torch.ones(1, 4)
            with arithmetic.forward():
                y = layer(x)
            arithmetic.backward((y.float() * 1e-8).sum())
            arithmetic.step(torch.optim.Adam(layer.parameters(), fused=True))
            assert layer.weight.grad is not None
            assert layer.weight.grad[0, 0].item() == pytest.approx(expected, rel=0.01)

    def test_what_matters_is_float32(self) -> None:
        trained = _trained(config(), 0)
        seen: dict[str, torch.dtype] = {}
        for name, module in trained.denoiser.named_modules():
            module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))
        x = torch.randn(4, 1, 8, 8)
        with trained.arithmetic.forward():
            loss = trained.objective.loss(trained.denoiser, x, torch.ones(4), torch.randn_like(x))
        assert seen["network.stem"] == torch.float16
        assert seen[""] == loss.dtype == torch.float32  # D, after the preconditioning
        assert {average.dtype for average in trained.model.parameters()} == {torch.float32}

    def test_a_checkpoint_keeps_the_scale(self) -> None:
        settings = config(lr=1e-3)
        unbroken, first = _trained(settings, 2), _trained(settings, 2)
        for run in (unbroken, first):
            scale = run.arithmetic.state_dict() | {"scale": 512.0, "_growth_tracker": 1999}
            run.arithmetic.load_state_dict(scale)
        resumed = TrainingState(settings, (1, 8, 8), 0, CPU)
        resumed.restore(first.checkpoint())
        for run in (unbroken, resumed):
            _step(run)
        assert resumed.arithmetic.state_dict() == unbroken.arithmetic.state_dict()
        assert resumed.arithmetic.state_dict()["scale"] == 1024.0
        for one, other in zip(resumed.denoiser.parameters(), unbroken.denoiser.parameters(), strict=True):
            assert torch.equal(one, other)


def test_half_precision_needs_cuda() -> None:
    with pytest.raises(ValueError, match="fp16 needs CUDA, but the device is mps: use fp32"):
        check_precision(config(), torch.device("mps"))
    check_precision(config(), torch.device("cuda"))


@pytest.mark.parametrize(
    ("capabilities", "able"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx2": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
    ],
)
def test_bf16_that_the_processor_imitates_is_warned_of(
    capabilities: dict[str, bool], able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert cpu_computes_bf16() == able
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_precision(config(precision="bf16"), CPU)
        check_precision(config(precision="bf16"), torch.device("cuda"))
        check_precision(config(precision="fp32"), CPU)
    assert [("100 times slower" in str(entry.message)) for entry in caught] == [True] * (not able)


@pytest.mark.parametrize("tf32", [False, True])
def test_cuda_products_are_set_and_put_back(tf32: bool) -> None:
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    with cuda_products(tf32):
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (tf32, tf32, True)
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == before
    assert TrainingConfig(data="-").tf32 is False, "the paper's models were trained without"


def test_no_setting_asks_for_less_than_float32_unasked() -> None:
    assert TrainingConfig(data="-").precision == "fp32"
    assert precision._TYPES.keys() == {"bf16", "fp16"}


def _trained(settings: TrainingConfig, steps: int) -> TrainingState:
    run = TrainingState(settings, (1, 8, 8), 0, CPU)
    for _ in range(steps):
        _step(run)
    return run


def _step(run: TrainingState) -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws = draw(run.config.seed, run.step, images.shape, run.objective.noise)
    update(run, noisy_batches(run, images, None, draws))


BATCH = 2


class Layouts(TorchDispatchMode):
    """Counts the feature maps that operations make, those with channels innermost and the others by operation."""

    def __init__(self, wanted: torch.memory_format, ndim: int) -> None:
        super().__init__()
        self._wanted, self._ndim = wanted, ndim
        self.kept, self.lost = 0, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(returned.alias_info for returned in func._schema.returns):
            return out  # a view, with the strides of what it is a view of
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and self._is_map(value):
                kept = value.is_contiguous(memory_format=self._wanted)
                self.kept += kept
                self.lost[str(func)] += not kept
        return out

    def _is_map(self, value: Tensor) -> bool:
        return value.ndim == self._ndim and len(value) == BATCH and value.shape[1] > 3 and value.shape[2:].numel() > 1


@pytest.mark.parametrize("make", [networks.UNet.ddpmpp, networks.UNet.ncsnpp, networks.ADM])
def test_every_operation_keeps_pictures_channels_last(make: Callable[..., networks.Network]) -> None:
    """Convolutions, normalisations, attention, resampling and dropout, forward and backward."""
    network = make(
        (3, 16, 16), base_channels=64, channel_multipliers=(1, 2), blocks_per_level=1, attention_resolutions=(16,),
        dropout=0.1,
    )  # fmt: skip
    layouts = _layouts(network, torch.channels_last)
    lost = {name: count for name, count in layouts.lost.items() if count and "scaled_dot_product" not in name}
    assert not lost
    assert layouts.kept > 100


def test_volumes_stay_channels_last_where_nothing_is_pooled() -> None:
    network = networks.UNet.ddpmpp(
        (2, 4, 4, 4), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(4,)
    )
    outputs: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    network.to(memory_format=torch.channels_last_3d)(torch.randn(BATCH, 2, 4, 4, 4), torch.randn(BATCH))
    assert len(outputs) == 5
    assert all(output.is_contiguous(memory_format=torch.channels_last_3d) for output in outputs)


@pytest.mark.parametrize(
    ("device", "precision", "dims", "setting", "expected"),
    [
        ("cuda", "fp16", 2, "auto", torch.channels_last),
        ("cuda", "bf16", 2, "auto", torch.channels_last),
        ("cuda", "fp32", 2, "auto", torch.preserve_format),
        ("cuda", "fp16", 2, "off", torch.preserve_format),
        ("cuda", "fp16", 3, "auto", torch.preserve_format),
        ("cuda", "fp16", 1, "auto", torch.preserve_format),
        ("cpu", "bf16", 2, "auto", torch.preserve_format),
        ("cpu", "fp32", 2, "on", torch.channels_last),
        ("cpu", "fp32", 3, "on", torch.channels_last_3d),
    ],
)
def test_choice(device: str, precision: Any, dims: int, setting: Any, expected: torch.memory_format) -> None:
    config = TrainingConfig(data="-", precision=precision, channels_last=setting)
    assert memory_format(config, torch.device(device), dims) == expected


def test_signals_have_one_layout() -> None:
    with pytest.raises(ValueError, match="one layout only"):
        memory_format(TrainingConfig(data="-", channels_last="on"), torch.device("cpu"), 1)


def _layouts(network: nn.Module, wanted: torch.memory_format) -> Layouts:
    network.to(memory_format=wanted).train()
    with Layouts(wanted, ndim=4) as layouts:
        network(torch.randn(BATCH, 3, 16, 16), torch.randn(BATCH)).square().sum().backward()
    return layouts
