"""The explorer without a page: bits, counted evaluations, exact solutions, bounds, and an end at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.web import digits
from elucidiff.web.engine import Explorer, Outcome, State
from elucidiff.web.request import Begin, Limits, MistakesError, Repaint, Request
from elucidiff.web.stopping import Stop, StoppedError
from tests.nothing_left_behind import nothing_left_behind

GAUSSIAN = """
import torch
import elucidiff as ed

STD = 0.7

def make():
    covariance = STD**2 * torch.eye(4, dtype=torch.float64)[None]
    return ed.ideal.GaussianMixture(torch.zeros(1, 1, 2, 2, dtype=torch.float64), covariance, torch.ones(1))
"""


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer()


@pytest.fixture
def gaussian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Explorer]:
    """Of N(0, 0.7^2 I), whose ODE is solved on paper."""
    (tmp_path / "gaussian_model.py").write_text(GAUSSIAN)
    with nothing_left_behind(tmp_path, monkeypatch):
        yield Explorer("gaussian_model.py:make")


def outcome_of(explorer: Explorer, sampler: ed.Sampler, seeds: str = "0-3", labels: str = "") -> Outcome:
    return explorer.draw(Request(sampler, seeds, labels))


@pytest.mark.parametrize(
    ("sampler", "nfe"),
    [
        (ed.Sampler(n=6), 11),  # Heun: two a step, one for the last
        (ed.Sampler(n=6, solver="ipndm:order=3"), 6),
        (ed.Sampler(n=6, churn=3), 11),
        (ed.Sampler(n=6, guidance=2.0), 22),  # two networks each
    ],
)
def test_evaluations_are_counted(explorer: Explorer, sampler: ed.Sampler, nfe: int) -> None:
    found = outcome_of(explorer, sampler, labels="3")
    assert found.nfe.tolist() == [nfe] * 4
    assert len(found.sigmas) == 7


def test_samples_are_those_of_ed_sample_to_the_bit(explorer: Explorer) -> None:
    found = outcome_of(explorer, ed.Sampler(n=8, solver="dpmpp_2m"), "5,2,9", "7")
    noise = ed.SeededNoise([5, 2, 9])
    latents = noise.latents((1, 8, 8))
    x = ed.sample(
        digits.exact(), latents, ed.steps.karras(8), solver=ed.solvers.DPMpp2M(), labels=torch.tensor([7, 7, 7])
    )
    assert torch.equal(found.x, x)
    assert torch.equal(found.images, ed.sampling.to_uint8(x))
    assert found.classes == ("7", "7", "7")
    assert found.seeds == (5, 2, 9)


def test_states_come_while_it_works_and_end_with_the_outcome(explorer: Explorer) -> None:
    *states, last = explorer.stream(Request(ed.Sampler(n=300), "0-31", "3"))
    assert isinstance(last, Outcome)
    assert all(isinstance(state, State) for state in states)
    first = states[0]
    assert (first.step, first.steps, first.sigma, first.nfe) == (1, 300, 80.0, 2)
    # D at the highest noise level is the mean of the class, near enough.
    threes = ed.data.open("digits").classes == 3
    mean = digits.exact().points[threes].mean(0)
    assert float((first.preview.double() / 127.5 - 1 - mean).abs().max()) < 0.1
    steps = [state.step for state in states]
    assert steps == sorted(set(steps))
    assert len(steps) > 1


def test_the_way_of_a_sample_begins_at_its_latent_and_ends_at_it(explorer: Explorer) -> None:
    found = outcome_of(explorer, ed.Sampler.from_table("vp", 6))  # whose states are scaled
    assert found.trace is not None
    latents = ed.SeededNoise(range(4)).latents((1, 8, 8))
    start = found.trace.x[0] / float(found.trace.sigmas[0])
    assert float((start - latents).abs().max()) < 1e-5
    assert torch.equal(found.trace.x[-1], found.x.float())
    assert found.trace.sigmas.tolist() == pytest.approx(found.sigmas.tolist())


def test_a_long_way_is_kept_in_fewer_places() -> None:
    small = Explorer(limits=Limits(kept=64 * 4 * 10))
    found = outcome_of(small, ed.Sampler(n=100, solver="euler"))
    assert found.trace is not None
    assert found.trace.x.numel() <= 64 * 4 * 11
    assert float(found.trace.sigmas[0]) == pytest.approx(80.0)
    assert torch.equal(found.trace.x[-1], found.x.float())


def test_the_exact_solution_is_that_of_the_gaussian_on_paper(gaussian: Explorer) -> None:
    found = outcome_of(gaussian, ed.Sampler(n=10))
    exact = gaussian.exactness(found)
    variance = 0.7**2
    latents = ed.SeededNoise(range(4)).latents((1, 2, 2)).double()
    at_low = 80 * latents * ((variance + 0.002**2) / (variance + 80**2)) ** 0.5
    solution = at_low * variance / (variance + 0.002**2)  # the last step goes to D
    assert float((exact.x - solution).abs().max()) < 1e-4
    expected = (found.x - solution).square().flatten(1).mean(1).sqrt()
    assert torch.allclose(exact.distance, expected, atol=1e-4)
    assert float(expected.min()) > 1e-3  # so that it says something
    for row, way in enumerate(exact.traces):
        radius = (variance + way.sigmas[:-1].square()).sqrt() / (variance + 80**2) ** 0.5 * 80
        assert torch.allclose(
            way.x[:-1, 0].flatten(1).double(), radius[:, None] * latents[row].flatten(), rtol=1e-3, atol=1e-4
        )


def test_the_distance_falls_with_the_square_of_the_steps_for_heuns_method(gaussian: Explorer) -> None:
    distances = [
        float(gaussian.exactness(outcome_of(gaussian, ed.Sampler(n=n, sigma_max=5.0))).distance.mean())
        for n in (16, 32)
    ]
    assert 3.0 < distances[0] / distances[1] < 5.0


def test_exact_solutions_are_kept_by_seed(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    solve = ed.sampling.optimise.exact.solve_exactly

    def counted(denoiser: object, seeds: list[int], *args: object, **options: object) -> object:
        asked.append(list(seeds))
        return solve(denoiser, seeds, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("elucidiff.web.engine.solve_exactly", counted)
    first = explorer.exactness(outcome_of(explorer, ed.Sampler(n=5), "100-102"))
    again = explorer.exactness(outcome_of(explorer, ed.Sampler(n=5, solver="ipndm"), "102,103,100"))
    assert asked == [[100, 101, 102], [103]]
    assert torch.equal(again.x[[2, 0]], first.x[[0, 2]])
    explorer.exactness(outcome_of(explorer, ed.Sampler(n=5), "100", "3"))  # of another class
    assert asked[2:] == [[100]]


@pytest.mark.parametrize(
    ("sampler", "why"),
    [(ed.Sampler(n=5, churn=2), "noise is added"), (ed.Sampler(n=5, solver="dpmpp_2m:eta=1"), "noise is added")],
)
def test_where_noise_is_added_there_is_no_exact_solution(explorer: Explorer, sampler: ed.Sampler, why: str) -> None:
    request = Request(sampler, "0")
    assert why in (explorer.why_inexact(request) or "")
    with pytest.raises(ValueError, match=why):
        explorer.exactness(explorer.draw(request))


@pytest.mark.parametrize(
    ("request_", "field", "told"),
    [
        (Request(ed.Sampler(), "0-64"), "seeds", "at most 64"),
        (Request(ed.Sampler(), "1,1"), "seeds", "twice"),
        (Request(ed.Sampler(), "x"), "seeds", "neither a number nor a range"),
        (Request(ed.Sampler(), "0-999999999"), "seeds", "at most 64"),
        (Request(ed.Sampler(), "0", "cat"), "labels", "neither a number nor a range"),
        (Request(ed.Sampler(), "0", "10"), "labels", "out of range"),
        (Request(ed.Sampler(n=513), "0"), "steps.n", "at most 512"),
        (Request(ed.Sampler(n=1_000_000), "0"), "steps.n", "at most 512"),
        (Request(ed.Sampler(n=500), "0-63"), "seeds", "at most 32"),
        (Request(ed.Sampler(restarts="restart:repeats=300"), "0"), "restarts.repeats", "too many steps"),
        (Request(ed.Sampler(), "0", "", Begin(torch.zeros(3, 8, 8, dtype=torch.uint8))), "picture", "shape"),
        (Request(ed.Sampler(), "0", "", Begin(torch.zeros(1, 8, 8, dtype=torch.uint8), 0.0)), "strength", "(0, 1]"),
        (
            Request(
                ed.Sampler(), "0", "3", Repaint(torch.zeros(1, 8, 8).byte(), torch.zeros(8, 8, dtype=torch.bool))
            ),
            "picture",
            "mark what is to be painted",
        ),
    ],
)
def test_what_cannot_be_done_is_told_by_its_field_before_anything_is_computed(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch, request_: Request, field: str, told: str
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(explorer.denoiser, "forward", never)
    assert [(each.field, told in each.text) for each in explorer.check(request_)] == [(field, True)]
    with pytest.raises(MistakesError):
        explorer.draw(request_)


def test_an_adaptive_solver_has_a_budget(explorer: Explorer) -> None:
    tight = Explorer(limits=Limits(nfe=60))
    assert tight.check(Request(ed.Sampler(solver="rk45:rtol=1e-10,atol=1e-12"), "0")) == []
    with pytest.raises(ValueError, match="more evaluations than a request may"):
        tight.draw(Request(ed.Sampler(solver="rk45:rtol=1e-10,atol=1e-12"), "0"))


@pytest.mark.parametrize("solver", ["heun", "rk45:rtol=1e-9,atol=1e-11"])
def test_a_run_is_stopped_in_the_midst(explorer: Explorer, solver: str) -> None:
    stop, calls = Stop(), 0

    def count(module: object, inputs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 40:
            stop.ask()

    hook = explorer.denoiser.register_forward_pre_hook(count)
    try:
        with pytest.raises(StoppedError):
            explorer.draw(Request(ed.Sampler(n=500, solver=solver), "0-3"), stop=stop)
    finally:
        hook.remove()
    assert calls <= 41


def test_closing_the_stream_ends_the_work(explorer: Explorer) -> None:
    before = threading.active_count()
    states = explorer.stream(Request(ed.Sampler(n=512), "0-15"))
    next(states)
    states.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_two_browsers_at_once_get_what_each_would_get_alone(explorer: Explorer) -> None:
    requests = [Request(ed.Sampler(n=9, churn=2), "0-7"), Request(ed.Sampler(n=7, solver="ipndm"), "4-11", "2")]
    alone = [explorer.draw(request).x for request in requests]
    found: dict[int, torch.Tensor] = {}

    def draw(place: int) -> None:
        found[place] = explorer.draw(requests[place]).x

    threads = [threading.Thread(target=draw, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[place], alone[place]) for place in range(2))


def test_variations_of_a_picture_stay_near_it_when_little_is_made_anew(explorer: Explorer) -> None:
    picture = outcome_of(explorer, ed.Sampler(), "3", "8").images[0]
    found = explorer.draw(Request(ed.Sampler(), "0-3", "8", Begin(picture, 0.2)))
    assert all(torch.equal(image, picture) for image in found.images)
    assert found.nfe.tolist() == [7] * 4  # 4 of 18 steps: 0.2 times 18, rounded


def test_what_is_not_brushed_is_kept_to_its_noise(gaussian: Explorer) -> None:
    picture = torch.tensor([[[30, 200], [128, 90]]], dtype=torch.uint8)
    mask = torch.tensor([[True, False], [False, False]])
    found = gaussian.draw(Request(ed.Sampler(n=12), "0-31", "", Repaint(picture, mask, 0.05)))
    away = (found.images.double() - picture) / 127.5
    assert 0.03 < float(away[:, :, ~mask].std()) < 0.08  # the noise that was stated
    assert float(away[:, :, mask].std()) > 0.4  # the data's own
    assert found.trace is None
