"""The learning rate of a run whose length is changed: closed forms of the decays, and what is said of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from elucidiff.training import TrainingConfig
from elucidiff.training.config import leap_of_rate, progress_of, rate_at


def config(**settings: Any) -> TrainingConfig:
    defaults = {"data": "digits", "batch_size": 8, "lr": 1.0, "lr_ramp_images": 0, "duration_images": 800}
    return TrainingConfig(**(defaults | settings))


def test_progress_is_by_images_or_by_minutes_whichever_is_further() -> None:
    assert progress_of(config(), 200, 1e9) == 0.25
    assert progress_of(config(max_minutes=10.0), 200, 300.0) == 0.5
    assert progress_of(config(max_minutes=10.0), 600, 300.0) == 0.75
    assert progress_of(config(), 9999, 0.0) == 1.0


def test_a_finished_cosine_run_made_twice_as_long_leaps_to_half_of_the_peak() -> None:
    """At progress 1/2 the cosine is at 1/2; the last step of 100 was at (1 + cos(0.99 pi)) / 2."""
    last = (1 + math.cos(0.99 * math.pi)) / 2
    said = leap_of_rate(config(lr_decay="cosine", duration_images=1600), 800, None, 800, 0.0)
    assert said is not None
    assert "was 800 images long and now is 1,600 images" in said
    assert f"from {last:.3g} at the last step to 0.5, {0.5 / last:.3g} times that" in said
    assert rate_at(config(lr_decay="cosine", duration_images=1600), 800, 0.5) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "before", "images", "leaps"),
    [
        ({"lr_decay": "cosine", "duration_images": 1600}, 800, 400, True),  # stopped half-way: from 0.5 to 0.85
        ({"lr_decay": "cosine", "duration_images": 800}, 1600, 400, True),  # made shorter: from 0.85 to 0.5
        ({"lr_decay": "cosine", "duration_images": 800}, 800, 400, False),  # not changed
        ({"lr_decay": "cooldown:share=0.5", "duration_images": 1600}, 800, 800, True),
        ({"lr_decay": "cooldown:share=0.25", "duration_images": 1600}, 800, 400, False),  # still constant
        ({"lr_decay": "constant", "duration_images": 1600}, 800, 800, False),
        ({"lr_decay": "constant", "duration_images": 1600, "lr_ramp_images": 16.0}, 800, 8, False),  # on the ramp
        ({"lr_decay": "inverse_sqrt:images=100", "duration_images": 1600}, 800, 800, False),
        ({"lr_decay": "cosine", "duration_images": 400}, 800, 400, False),  # that is its end: no step follows
        ({"lr_decay": "cosine", "duration_images": 801}, 800, 800, False),  # hardly longer: the rate stays low
    ],
)
def test_what_follows_the_length_leaps(settings: dict[str, Any], before: int, images: int, leaps: bool) -> None:
    assert (leap_of_rate(config(**settings), before, None, images, 0.0) is not None) == leaps


def test_a_run_by_the_clock_leaps_too() -> None:
    longer = config(lr_decay="cosine", duration_images=10**6, max_minutes=20.0)
    said = leap_of_rate(longer, 10**6, 10.0, 800, 600.0)
    assert said is not None
    assert "or 10 minutes long and now is 1,000,000 images or 20 minutes" in said
    assert "to 0.5," in said
    # Without a limit by the clock, the million images have hardly begun.
    assert leap_of_rate(config(lr_decay="cosine", duration_images=10**6), 10**6, 10.0, 800, 600.0) is not None
