"""Learning-rate schedules: the paper's table, and closed forms of the decays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.training.learning_rate import InverseSqrt, learning_rate
from tests.golden_files import load

CASE, GOLDEN = load("h_ema/tables")


@pytest.mark.parametrize("index", range(len(CASE["lr"])))
def test_ramp_is_the_reference_table(index: int) -> None:
    settings = CASE["lr"][index]
    for images_seen, lr in zip(GOLDEN[f"lr_{index}/nimg"], GOLDEN[f"lr_{index}/lr"], strict=True):
        ours = learning_rate(int(images_seen), peak=settings["lr"], ramp_images=1000 * settings["lr_rampup_kimg"])
        assert ours == pytest.approx(float(lr), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("index", range(5))
def test_inverse_square_root_is_the_table_of_edm2(index: int) -> None:
    case, tensors = load("m_edm2/lr")
    settings = case["lr"][index]
    for images_seen, lr in zip(tensors[f"lr_{index}/nimg"], tensors[f"lr_{index}/lr"], strict=True):
        ours = learning_rate(
            int(images_seen),
            peak=settings["ref_lr"],
            ramp_images=1e6 * settings["rampup_Mimg"],
            decay=InverseSqrt(settings["ref_batches"] * settings["batch_size"]),
        )
        assert ours == pytest.approx(float(lr), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (1 / 3, 0.75), (0.5, 0.5), (1.0, 0.0), (1.2, 0.0)])
def test_cosine_follows_the_progress(progress: float, share: float) -> None:
    assert learning_rate(10, peak=2.0, decay="cosine", progress=progress) == pytest.approx(2.0 * share, abs=1e-15)


@pytest.mark.parametrize(
    ("cooldown", "progress", "share"),
    [(0.25, 0.0, 1.0), (0.25, 0.75, 1.0), (0.25, 0.875, 0.5), (0.25, 1.0, 0.0), (0.25, 1.3, 0.0), (1.0, 0.3, 0.7)],
)
def test_cooldown_is_constant_and_then_linear(cooldown: float, progress: float, share: float) -> None:
    ours = learning_rate(10, peak=2.0, decay=f"cooldown:{cooldown}", progress=progress)
    assert ours == pytest.approx(2.0 * share, abs=1e-15)


@pytest.mark.parametrize(("images", "share"), [(50, 1.0), (100, 1.0), (400, 0.5), (10_000, 0.1)])
def test_inverse_square_root(images: int, share: float) -> None:
    ours = learning_rate(images, peak=3.0, decay="inverse_sqrt:images=100")
    assert ours == pytest.approx(3.0 * share, rel=1e-12)


@given(
    st.integers(0, 10**9),
    st.floats(0, 1e7),
    st.floats(0, 1),
    st.sampled_from(["constant", "cosine", "cooldown:share=1", "inverse_sqrt:images=1e5"]),
)
def test_never_above_the_peak(images: int, ramp: float, progress: float, decay: str) -> None:
    lr = learning_rate(images, peak=1.0, ramp_images=ramp, decay=decay, progress=progress)
    assert 0.0 <= lr <= 1.0


def test_without_a_ramp_the_first_update_has_rate_0_but_for_the_schedule_of_edm2() -> None:
    assert [learning_rate(0, peak=2.0, decay=name) for name in ("constant", "cosine", "inverse_sqrt")] == [0, 0, 2.0]


@pytest.mark.parametrize(
    ("decay", "message"),
    [
        ("cooldown:share=0", "share is 0.0, but must be"),
        ("inverse_sqrt:-1", "must not be negative"),
        ("lin", "no learn"),
    ],
)
def test_schedules_that_cannot_be(decay: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learning_rate(1, peak=1.0, decay=decay)
