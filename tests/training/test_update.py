"""The update step against a recorded run of the reference's training loop, and its own invariances."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elucidiff.augment import Augment
from elucidiff.data.order import InfiniteOrder
from elucidiff.interop.nvlabs import from_state_dict
from elucidiff.interop.nvlabs_names import reference_name
from elucidiff.networks import DDPMPPSettings, MPUNetSettings
from elucidiff.training.batches import draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import NoisyBatch, noisy_batches, update
from elucidiff.training.metrics import LossSummary
from elucidiff.training.precision import sanitize_gradients
from elucidiff.training.state import TrainingState
from tests.golden_files import load

CPU = torch.device("cpu")


def tiny(**settings: Any) -> TrainingConfig:
    network = DDPMPPSettings(
        base_channels=8, channel_multipliers=(1, 1), blocks_per_level=1, attention_resolutions=(4,), dropout=0.0
    )
    return TrainingConfig(**{"data": "-", "network": network, "batch_size": 4, "lr_ramp_images": 0.0, **settings})


class ReferenceRun:
    """Six updates of the reference's loop: accumulation, augmentation labels, learning-rate ramp, Adam, averages."""

    def __init__(self) -> None:
        self.case, self.golden = load("l_training/run")
        state = _reference_state(self.case, self.golden)
        # The reference's names, in its order, to ours.
        self.ours = {
            f"model.{reference_name(name, state.denoiser.network)}": name
            for name, _ in state.denoiser.network.named_parameters()
        }
        self.ours = {name: self.ours[name] for name in self.case["param_order"]}
        self.losses: list[LossSummary] = []
        self.lr: list[float] = []
        self.beta: list[float] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, dict[str, Tensor]]] = []
        for step in range(self.case["iterations"]):
            update(state, [_recorded_batch(self.golden, call) for call in (2 * step, 2 * step + 1)])
            network, average = state.denoiser.network, state.averages["ema"]
            self.gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
            self.weights.append({"net": _copy(network), "ema": _copy(average.network)})
            self.lr.append(state.optimiser.param_groups[0]["lr"])
            self.beta.append(average.beta)
            self.losses.append(state.meter.summary())
            state.meter.reset()


@pytest.fixture(scope="module")
def run() -> ReferenceRun:
    return ReferenceRun()


class TestAgainstTheReferenceRun:
    def test_data_order(self, run: ReferenceRun) -> None:
        order = InfiniteOrder(20, seed=run.case["seed"])
        for call in range(12):
            assert order.take(2).tolist() == run.golden[f"call{call}/dataset_idx"].tolist()

    def test_learning_rate_and_beta(self, run: ReferenceRun) -> None:
        assert run.lr == pytest.approx(run.golden["lr"].tolist(), rel=1e-12)
        assert run.beta == pytest.approx(run.golden["ema_beta"].tolist(), rel=1e-12)

    def test_losses(self, run: ReferenceRun) -> None:
        for step, summary in enumerate(run.losses):
            expected = sum(float(run.golden[f"call{call}/loss_sum"]) for call in (2 * step, 2 * step + 1))
            assert summary.images == 4
            assert summary.mean * 4 * (3 * 16 * 16) == pytest.approx(expected, rel=1e-5)

    def test_gradient_norms(self, run: ReferenceRun) -> None:
        for step, gradients in enumerate(run.gradients):
            norms = torch.stack([gradients[name].double().norm() for name in run.ours.values()])
            torch.testing.assert_close(norms, run.golden[f"iter{step}/grad_norms"], rtol=1e-4, atol=1e-6)

    def test_every_weight_by_its_norm_and_sum(self, run: ReferenceRun) -> None:
        for step, weights in enumerate(run.weights):
            for index, name in enumerate(run.ours.values()):
                net, ema = weights["net"][name].double(), weights["ema"][name].double()
                # See _without_key_biases: each of these may be off by the sum of the learning rates.
                loose = sum(run.lr) * net.numel() if name.endswith("attention.qkv.bias") else 1e-4
                norm, total, ema_total = (
                    run.golden[f"iter{step}/{key}"][index].item() for key in ("net_norms", "net_sums", "ema_sums")
                )
                assert net.norm().item() == pytest.approx(norm, rel=1e-5, abs=loose)
                assert net.sum().item() == pytest.approx(total, abs=loose)
                assert ema.sum().item() == pytest.approx(ema_total, abs=loose)

    def test_watched_tensors(self, run: ReferenceRun) -> None:
        for step in (0, 1, run.case["iterations"] - 1):
            for theirs in run.case["watched"]:
                for kind in ("net", "ema"):
                    name = run.ours[theirs]
                    expected = _our_order(name, run.golden[f"iter{step}/{kind}/{theirs}"])
                    ours = run.weights[step][kind][name].reshape(expected.shape)
                    torch.testing.assert_close(
                        _without_key_biases(name, ours),
                        _without_key_biases(name, expected),
                        rtol=0,
                        atol=2e-5,
                        msg=lambda text, name=name: f"{name}: {text}",
                    )


def test_gains_learn_at_their_own_rate() -> None:
    """And everything learns in one of the groups."""
    config = tiny(lr=1e-2, lr_gains=0.25, learned_loss_weighting=True)
    state = trained(dataclasses.replace(config, network=MPUNetSettings(8, (1,), 1, (), 0.0)), 2)
    others, gains = ({id(weight) for weight in group["params"]} for group in state.optimiser.param_groups)
    named = dict(state.trained.named_parameters())
    assert gains == {
        id(weight) for name, weight in named.items() if weight.shape == (1,) and name.startswith("network.")
    }
    assert len(gains) > 3
    assert others == {id(weight) for weight in named.values()} - gains
    assert [group["lr"] for group in state.optimiser.param_groups] == pytest.approx([1e-2, 0.25e-2])
    assert [group["lr"] for group in trained(tiny(lr=1e-2, lr_gains=0.25), 2).optimiser.param_groups] == [1e-2]


def test_parts_of_a_batch_give_the_whole_batchs_update() -> None:
    whole, parts = (trained(tiny(batch_size=8, device_batch_size=size, lr=1e-3), steps=3) for size in (None, 2))
    _assert_same_but_for_rounding(whole, parts)


def test_update_is_a_function_of_seed_and_step() -> None:
    config = tiny(augment=Augment(p=0.5, scale=1.0), lr=1e-3)
    first, second = trained(config, steps=3), trained(config, steps=3)
    for one, other in zip(first.denoiser.parameters(), second.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)
    other_seed = trained(tiny(augment=Augment(p=0.5, scale=1.0), lr=1e-3, seed=1), steps=3)
    assert not torch.equal(next(iter(first.denoiser.parameters())), next(iter(other_seed.denoiser.parameters())))


def test_first_update_changes_nothing_but_the_moments() -> None:
    before, after = trained(tiny(), steps=0), trained(tiny(), steps=1)
    for one, other in zip(before.denoiser.parameters(), after.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)
    moments = [after.optimiser.state[parameter]["exp_avg"] for parameter in after.denoiser.parameters()]
    assert max(moment.abs().max().item() for moment in moments) > 0


def test_gradients_are_tamed() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.0])
    sanitize_gradients([parameter], loss_scale=1.0, clip=None)
    assert parameter.grad.tolist() == [0.0, 1e5, -1e5, 3.0]


@pytest.mark.parametrize(("clip", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_clipping_scales_the_norm_of_the_unscaled_gradient(clip: float, expected: list[float]) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([300.0, 400.0])
    sanitize_gradients([parameter, nn.Parameter(torch.zeros(1))], loss_scale=100.0, clip=clip)
    assert parameter.grad.tolist() == pytest.approx(expected, rel=1e-6)


def test_loss_scale_does_not_change_the_update() -> None:
    plain, scaled = (trained(tiny(lr=1e-3, loss_scale=scale), steps=3) for scale in (1.0, 64.0))
    _assert_same_but_for_rounding(plain, scaled)


def test_layout_in_memory_does_not_change_the_update() -> None:
    plain, channels_last = (trained(tiny(lr=1e-3, channels_last=flag), steps=3) for flag in ("off", "on"))
    _assert_same_but_for_rounding(plain, channels_last)


def test_bfloat16_computes_with_weights_and_moments_in_float32() -> None:
    plain, low = (trained(tiny(lr=1e-3, precision=precision), steps=3) for precision in ("fp32", "bf16"))
    assert low.meter.summary().mean == pytest.approx(plain.meter.summary().mean, rel=0.02)
    assert low.meter.summary().mean != plain.meter.summary().mean
    for parameter in low.denoiser.parameters():
        assert parameter.dtype == low.optimiser.state[parameter]["exp_avg"].dtype == torch.float32


def _assert_same_but_for_rounding(one: TrainingState, other: TrainingState) -> None:
    """The last gradients agree within float32, and the weights within a fiftieth of a learning rate.

    Adam divides by the size of the gradient, so where that is small it makes large steps of small differences: the
    gradients tell better than the weights whether two ways of computing are the same.
    """
    pairs = zip(one.denoiser.network.named_parameters(), other.denoiser.network.named_parameters(), strict=True)
    for (name, first), (_, second) in pairs:
        assert first.grad is not None
        assert second.grad is not None
        assert (first.grad - second.grad).norm() <= 1e-4 * first.grad.norm() + 1e-7, name
        first, second = _without_key_biases(name, first), _without_key_biases(name, second)
        torch.testing.assert_close(
            first, second, rtol=0, atol=0.02 * one.config.lr, msg=lambda text, name=name: f"{name}: {text}"
        )


def trained(config: TrainingConfig, steps: int) -> TrainingState:
    state = TrainingState(config, (1, 8, 8), 0, CPU)
    images = torch.rand(config.batch_size, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for _ in range(steps):
        draws = draw(config.seed, state.step, images.shape, state.objective.noise, state.augment)
        update(state, noisy_batches(state, images, None, draws))
    return state


def _reference_state(case: dict[str, Any], golden: dict[str, Tensor]) -> TrainingState:
    """A training state with the recorded run's settings and starting weights."""
    network = case["network_kwargs"]
    config = TrainingConfig(
        data="-",
        conditional=True,
        network=DDPMPPSettings(
            base_channels=network["model_channels"],
            channel_multipliers=tuple(network["channel_mult"]),
            blocks_per_level=network["num_blocks"],
            attention_resolutions=tuple(network["attn_resolutions"]),
            dropout=network["dropout"],
        ),
        augment=Augment(**case["augment_kwargs"]),
        batch_size=case["batch_size"],
        device_batch_size=case["batch_gpu"],
        lr=case["optimizer"]["lr"],
        lr_ramp_images=1000 * case["lr_rampup_kimg"],
        ema_half_life_images=1000 * case["ema_halflife_kimg"],
        ema_rampup_ratio=case["ema_rampup_ratio"],
    )
    shape = (case["img_channels"], case["img_resolution"], case["img_resolution"])
    state = TrainingState(config, shape, case["label_dim"], CPU)
    arguments = {key: value for key, value in network.items() if key not in ("class_name", "model_type", "use_fp16")}
    weights = {
        name.removeprefix("init/model."): value for name, value in golden.items() if name.startswith("init/model.")
    }
    arguments |= {
        "img_resolution": case["img_resolution"],
        "in_channels": case["img_channels"],
        "out_channels": case["img_channels"],
        "label_dim": case["label_dim"],
    }
    start = from_state_dict("SongUNet", arguments, weights).state_dict()
    state.denoiser.network.load_state_dict(start)
    state.averages["ema"].network.load_state_dict(start)
    return state


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def _our_order(name: str, value: Tensor) -> Tensor:
    """Queries, keys and values are interleaved in the reference, and follow one another here (one head)."""
    if ".qkv." not in name:
        return value
    return value.reshape(-1, 3, *value.shape[1:]).movedim(1, 0).reshape(value.shape)


def _without_key_biases(name: str, value: Tensor) -> Tensor:
    """Leave out the biases of attention keys.

    They add the same number to all logits of a query, which softmax ignores: their gradient is rounding error, and
    Adam turns that into steps of up to the learning rate in either direction.
    """
    if not name.endswith("attention.qkv.bias"):
        return value
    queries, _, values = value.chunk(3)
    return torch.cat([queries, values])


def _recorded_batch(golden: dict[str, Tensor], call: int) -> NoisyBatch:
    sigma = golden[f"call{call}/sigma"]
    return NoisyBatch(
        images=golden[f"call{call}/y"],
        sigma=sigma.flatten(),
        noise=golden[f"call{call}/n"] / sigma,
        labels=golden[f"call{call}/labels"],
        augment_labels=golden[f"call{call}/augment_labels"],
    )
