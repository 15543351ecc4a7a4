"""Our samplers inside diffusers' pipelines: a scheduler that takes a step for each evaluation of the network.

    >>> pipe.scheduler = ElucidiffScheduler.from_config(pipe.scheduler.config, sampler="ipndm")  # doctest: +SKIP
    >>> pipe("a photograph of an oak", num_inference_steps=12)  # doctest: +SKIP

This module needs the extra ``diffusers``; the others of this package import it where it is asked for.
"""

from __future__ import annotations

import math
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime, DiscreteTime, Time
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import noise_tables, preconditioning
from elucidiff.design.schedules import Flow
from elucidiff.devices import widest_type
from elucidiff.interop.diffusers.settings import PREDICTIONS
from elucidiff.sampling.loop import Step
from elucidiff.sampling.sampler import Sampler


class ElucidiffScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Any sampler of ours as a scheduler: a step for each evaluation of the network.

    The sampler's noise is added where it wants it, before an evaluation, and its state is float64. What a pipeline
    hands from step to step is the network's next input; changes that it makes to that are not followed.

    Args:
        sampler: a text form of :meth:`.Sampler.parse`, such as ``"heun churn=30 steps=karras:rho=5"``. The number of
            steps is the pipeline's; there are as many timesteps as evaluations.
        num_train_timesteps: length of the table.
        beta_start: see :func:`.noise_tables.alpha_bars`, as for the next three.
        beta_end: last beta.
        beta_schedule: the schedule of betas.
        trained_betas: betas in place of a schedule.
        rescale_betas_zero_snr: whether the table ends in pure noise.
        prediction_type: what the network predicts.
        shift: of a flow-matching scheduler. If it is given, the network predicts a flow, and its time is the flow's;
            how levels are spaced is the sampler's.
        sigma_data: of an EDM scheduler. If it is given, the network is F of the EDM preconditioning.

    Raises:
        ValueError: the sampler guides, which a pipeline does itself, or chooses its own steps.
    """

    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sampler: str = "",
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        rescale_betas_zero_snr: bool = False,
        prediction_type: str = "epsilon",
        shift: float | None = None,
        sigma_data: float | None = None,
    ) -> None:
        self.sampler = Sampler.parse(sampler)
        if self.sampler.guidance is not None:
            raise ValueError("the sampler guides, which a pipeline does itself: leave guidance out")
        if self.sampler.solver.adaptive:
            raise ValueError("a pipeline must know its steps before it begins: take a solver with fixed steps")
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1)
        self.init_noise_sigma = 1.0
        self._run: _Run | None = None
        self._chosen = self.sampler
        self._factor = 1.0

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the noise levels for a run of this many steps, and forget one that was under way."""
        self._forget()
        chosen = self.sampler.with_settings({"steps.n": int(num_inference_steps)})
        asked: list[float] = []
        inputs: list[Tensor] = []
        begun: list[Step] = []

        def look(seen: Tensor, time: Tensor) -> Tensor:
            asked.append(float(time.reshape(-1)[0]))
            inputs.append(seen)
            return torch.zeros_like(seen)

        # Where the network is asked does not depend on what it answers.
        one = torch.ones(1, 1, 1, dtype=torch.float64)
        _draw(chosen, self._denoiser(look, one.dtype), one, lambda x, _: torch.zeros_like(x), begun.append)
        self.timesteps = torch.tensor(asked, dtype=torch.float32, device=device)
        self.num_inference_steps = int(num_inference_steps)
        self._factor = float(inputs[0].abs().max())
        first, noise_scale = begun[0], 1.0 if chosen.churn is None else chosen.churn.noise_scale
        self.init_noise_sigma = self._factor
        if math.isfinite(first.sigma):
            # The sample that the pipeline begins with has the noise that is raised before the first evaluation.
            added = noise_scale**2 * ((first.sigma_hat / first.sigma) ** 2 - 1)
            self.init_noise_sigma *= math.sqrt(1 + added)
        self._chosen = chosen

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample itself, which is the network's input already."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
    ) -> SchedulerOutput | tuple[Tensor]:
        """The network's next input, or after the last timestep the sample, given its output for the one before.

        Args:
            model_output: the network's output.
            timestep: at which it was asked; they are taken in order.
            sample: what it was asked about.
            generator: draws the sampler's noise.
            return_dict: as in every scheduler.
            eta: of DDIM, which some pipelines pass on: 0.
            use_clipped_model_output: of DDIM, likewise: not true.

        Raises:
            ValueError: DDIM's options are asked for; or a sample became NaN or infinite.
        """
        if eta or use_clipped_model_output:
            raise ValueError("eta and use_clipped_model_output are DDIM's: the sampler says how much noise is added")
        if self._run is None:
            self._begin(sample)
        run = self._run
        assert run is not None
        run.generator = generator
        result = run.answer(model_output[:, : sample.shape[1]])
        if run.finished:
            self._forget()
        result = result.to(sample.device, sample.dtype)
        return SchedulerOutput(prev_sample=result) if return_dict else (result,)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def _begin(self, given: Tensor) -> None:
        """Start the sampler in a thread, up to its first question, which the pipeline has asked already."""
        run, chosen = _Run(), self._chosen
        latents = given.to(widest_type(given.device)) / self._factor

        def noise(x: Tensor, _: int) -> Tensor:
            return run.noise(x) if run.asked else torch.zeros_like(x)  # which the sample that is given has already

        denoiser = self._denoiser(run.ask, latents.dtype)
        run.start(lambda: _draw(chosen, denoiser, latents, noise))
        weakref.finalize(self, run.stop)  # of a run that was given up; its thread does not hold this scheduler
        self._run = run

    def _forget(self) -> None:
        if self._run is not None:
            self._run.stop()
            self._run = None

    def _denoiser(
        self, network: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
    ) -> AdaptedDenoiser | Denoiser:
        config = self.config
        if config.sigma_data is not None:
            sign = -1 if config.prediction_type == "v_prediction" else 1
            return Denoiser(_Asked(network, sign, dtype), preconditioning.EDM(config.sigma_data))
        time: Time
        if config.shift is not None or config.prediction_type == "flow_prediction":
            time = ContinuousTime(Flow(), factor=float(config.num_train_timesteps))
            return AdaptedDenoiser(network, "flow", time, dtype=dtype)
        bars = noise_tables.alpha_bars(
            config.beta_schedule,
            config.beta_start,
            config.beta_end,
            config.num_train_timesteps,
            config.trained_betas,
            zero_terminal_snr=config.rescale_betas_zero_snr,
        )
        time = DiscreteTime(torch.from_numpy(bars), between="interpolated")
        return AdaptedDenoiser(network, PREDICTIONS[config.prediction_type], time, dtype=dtype)


def _draw(
    sampler: Sampler,
    denoiser: AdaptedDenoiser | Denoiser,
    latents: Tensor,
    noise: Callable[[Tensor, int], Tensor],
    callback: Callable[[Step], object] | None = None,
) -> Tensor:
    prepared = sampler.prepare(denoiser)
    return prepared.sample(sampler.guided(denoiser), latents, noise=noise, callback=callback, batch_size=None)


class _Stopped(Exception):
    """The run is not wanted any more."""


class _Run:
    """A sampler in a thread of its own that asks the pipeline instead of a network, and waits for its answers.

    Solvers ask when they want, pipelines answer when they want: neither is written to be called by the other.

    Attributes:
        generator: draws noise.
        asked: whether the first question was asked.
        finished: whether the samples are there.
    """

    def __init__(self) -> None:
        self.generator: torch.Generator | list[torch.Generator] | None = None
        self.asked = False
        self.finished = False
        self._questions: queue.Queue[Tensor | BaseException] = queue.Queue(1)
        self._answers: queue.Queue[Tensor | None] = queue.Queue(1)

    def start(self, work: Callable[[], Tensor]) -> None:
        """Begin, up to the first question."""
        threading.Thread(target=self._work, args=(work,), daemon=True).start()
        self._next()

    def ask(self, seen: Tensor, time: Tensor) -> Tensor:
        """The network's output for this input; called by the sampler."""
        self.asked = True
        self._questions.put(seen)
        answer = self._answers.get()
        if answer is None:
            raise _Stopped
        return answer.to(seen.dtype)

    def noise(self, x: Tensor) -> Tensor:
        """Unit noise like ``x``; called by the sampler."""
        noise: Tensor = randn_tensor(x.shape, generator=self.generator, device=x.device, dtype=x.dtype)
        return noise

    def answer(self, output: Tensor) -> Tensor:
        """The next question, or the samples, after the network's output for the last question."""
        self._answers.put(output)
        return self._next()

    def stop(self) -> None:
        """End the thread, if it waits."""
        if not self.finished:
            self.finished = True
            self._answers.put(None)

    def _next(self) -> Tensor:
        question = self._questions.get()
        if isinstance(question, BaseException):
            raise question
        return question

    def _work(self, work: Callable[[], Tensor]) -> None:
        try:
            result: Tensor | BaseException = work()
        except _Stopped:
            return
        except BaseException as error:
            result = error
        self.finished = True
        self._questions.put(result)


class _Asked(nn.Module):
    """A function as the network of an EDM denoiser."""

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], sign: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.function = network
        self.sign = sign
        self.in_type = nn.Parameter(torch.zeros((), dtype=dtype), requires_grad=False)

    def forward(self, x: Tensor, time: Tensor, *_: Any) -> Tensor:
        """The function's answer."""
        return self.sign * self.function(x, time)
