"""Settings of a training for given data, a given machine and a given time, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from elucidiff import parts
from elucidiff.augment import Augment
from elucidiff.design import objectives, preconditioning
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.devices import choose_device
from elucidiff.networks import EDM2Settings, MPUNetSettings, NetworkPart, NetworkSettings
from elucidiff.training.config import TrainingConfig
from elucidiff.training.learning_rate import Cosine
from elucidiff.training.planning.findings import Findings
from elucidiff.training.planning.timing import Speed, networks_for, speed_of
from elucidiff.training.pretrained import described, held_out_by, scaling_kept

EVENING = 240.0
"""Minutes of a run where nobody says how many there are."""

# A network is wide enough, and not too wide for the time, where so many positions of images are seen for each of its
# weights: what the preset fashion-mnist has in its half hour.
_POSITIONS_PER_WEIGHT = 50
_BATCH, _LARGEST_BATCH = 32, 256
# Twice the batch is worth it if it takes less than 1 / 0.7 of the time, and leaves so many steps.
_GAIN, _FEWEST_STEPS = 1.4, 5_000
# At 24 channels, 32 images a step and 3,600 steps: half the rate of the preset fashion-mnist. With about that one,
# emoji of 64x64 diverged: after 250 steps at 6e-2 with four levels, after 640 at 5.2e-2 with three.
_RATE, _RATE_CHANNELS, _RATE_STEPS = 3e-2, 24, 3_600
_RATE_OF_STANDARD_LAYERS, _RATE_OF_FINE_TUNING, _RATE_OF_TUNING = 4e-3, 0.5, 0.25
_RAMP_IMAGES, _RAMP_SHARE = 6_400, 0.05
_HALVINGS = 4
_SHARES = {2: "half", 4: "a quarter", 8: "an eighth", 16: "a sixteenth", 64: "a sixty-fourth"}
_FEW_IMAGES, _MANY_PASSES, _P = 5_000, 250, 0.12
_MOST_PASSES = 5_000
_HELD_OUT_SHARE, _MOST_HELD_OUT, _FEWEST_HELD_OUT = 0.1, 500, 2
_CHECKS_SHARE, _CHECKS, _EVALUATIONS, _PASSES = 0.05, 8, 15, 4
_FIRST_PREVIEW_S = 60.0
_TOO_FEW_IMAGES = 10_000
_SMALL_SET = 300
_TOGETHER, _BUSY = 0.9, 0.8


@dataclass(frozen=True)
class Choice:
    """A value chosen for a setting, and the reason.

    Attributes:
        setting: what is chosen.
        value: what was chosen, in words.
        reason: why.
    """

    setting: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """A training that was planned.

    Attributes:
        config: its settings.
        choices: each with its reason, in the order in which they were made.
        notes: what to expect, in a line each.
        images: how many training images are expected to fit into the time.
        images_per_second: what was measured.
    """

    config: TrainingConfig
    choices: tuple[Choice, ...]
    notes: tuple[str, ...]
    images: int
    images_per_second: float


def plan(
    findings: Findings,
    *,
    minutes: float = EVENING,
    conditional: bool = True,
    device: str = "auto",
    processes: int = 1,
    seed: int = 0,
    start: str = "",
    few_evaluations: Few | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Plan:
    """Plan a training: network, noise levels, batch, learning rate, augmentation, length.

    Takes the time of a few optimiser steps of each network that comes into question.

    Args:
        findings: of the data set.
        minutes: how long the training may take.
        conditional: whether to train with the labels, if there are any.
        device: where to train, as in :class:`.TrainingConfig`.
        processes: how many train together.
        seed: of the training.
        start: a model to begin with the weights of, whose network and preconditioning are then taken.
        few_evaluations: the objective by which that model is tuned until one to four evaluations make its samples;
            None for a training as usual.
        say: told what is being timed.

    Raises:
        ValueError: there is no such device, the time is not positive, or in that time next to nothing can be learned
            from pictures of that size; the message then has the command that makes them smaller.

    >>> import elucidiff as ed
    >>> from elucidiff.training.planning import look_at, plan
    >>> made = plan(look_at("digits"), minutes=1, device="cpu")
    >>> made.config.conditional, made.config.max_minutes
    (True, 1.0)
    """
    if not 0 < minutes < math.inf:
        raise ValueError(f"--minutes is {minutes:g}, but must be a positive number")
    return _Planning(findings, minutes, conditional, device, processes, seed, start, few_evaluations, say).made()


class _Planning:
    """The choices, one after the other: later ones depend on earlier ones."""

    def __init__(
        self,
        findings: Findings,
        minutes: float,
        conditional: bool,
        device: str,
        processes: int,
        seed: int,
        start: str,
        few: Few | None,
        say: Callable[[str], object],
    ) -> None:
        self._findings, self._seconds, self._processes, self._say = findings, 60 * minutes, processes, say
        self._device = choose_device(device)
        self._choices: list[Choice] = []
        self._undisturbed: list[float] = []
        self._few = few
        self._objective: _Known = _objective(findings)
        self._networks: Iterator[NetworkPart] = networks_for(findings.shape)
        scaling: Preconditioning = preconditioning.EDM(sigma_data=findings.sigma_data)
        with_labels = conditional and findings.label_dim > 0
        if start:
            network, scaling = described(start, findings.shape)
            kept = scaling_kept(start, findings.shape)
            if kept is not None and findings.normalise != "pixels":
                told = f"that of {start}, whose weights are made for it"
                self._findings = findings = replace(findings, normalise=parts.to_text(kept), normalise_reason=told)
            self._networks = iter([network if with_labels else _without_labels(network)])
            if few:
                self._objective = _few_evaluations(few, TrainingConfig(preconditioning=scaling).sigma_data)
        self._config = TrainingConfig(
            data=findings.data,
            condition=findings.condition,
            normalise=parts.parse("scaling", findings.normalise),
            conditional=with_labels,
            preconditioning=scaling,
            start_from=start,
            objective=self._objective,
            learned_loss_weighting=few != "consistency",
            lr_decay=Cosine(),
            lr_gains=0.1,
            lr_halvings=0 if few else _HALVINGS,  # losses of different gaps are not to be compared
            max_minutes=float(minutes),
            batch_size=math.ceil(_BATCH / processes) * processes,
            device=device,
            seed=seed,
        )

    def made(self) -> Plan:
        """All of them."""
        self._about_data()
        speed = self._choose_network()
        speed = self._choose_batch(speed)
        speed = self._choose_augmentation(speed)
        images = self._images(speed)
        self._choose_rate(images)
        self._choose_length(speed, images)
        return Plan(self._config, tuple(self._choices), tuple(self._notes()), images, self._rate(speed))

    def _choose(self, setting: str, value: str, reason: str) -> None:
        self._choices.append(Choice(setting, value, reason))

    def _images(self, speed: Speed) -> int:
        """Number of training images that fit into the time, checks and previews left out."""
        return max(self._config.batch_size, int((1 - _CHECKS_SHARE) * self._rate(speed) * self._seconds))

    def _rate(self, speed: Speed) -> float:
        """Training images a second of all processes, beside what else the machine does."""
        together = 1.0 if self._processes == 1 else _TOGETHER * self._processes
        return speed.images_per_second * together * self._share

    @property
    def _share(self) -> float:
        """The share of the machine that is left beside its other work, over all steps that were timed."""
        return sum(self._undisturbed) / len(self._undisturbed)

    def _speed(self, config: TrainingConfig) -> Speed:
        found = self._findings
        alone = replace(config, batch_size=config.batch_size // self._processes)
        labels = found.label_dim if config.conditional else 0
        speed = speed_of(alone, found.shape, labels, self._device, found.condition_shape)
        self._undisturbed.append(speed.undisturbed)
        return speed

    def _about_data(self) -> None:
        found = self._findings
        from_report = f"; from {found.kept}" if found.kept else ""
        equal = f", {found.equal:,} of them there before" if found.equal else ""
        shape = "x".join(map(str, found.shape))
        self._choose("data", f"{found.count:,} of {shape}", f"all of them{equal}{from_report}")
        if found.label_dim:
            what = "classes" if found.classes else "numbers"
            conditional = self._config.conditional
            how = "samples can be asked for by label" if conditional else "--no-conditional leaves them out"
            self._choose("labels", f"{found.label_dim} {what}" if conditional else "none", how)
        else:
            self._choose("labels", "none", "the data have none")
        if found.condition_shape:
            sides = "x".join(map(str, found.condition_shape))
            how = "samples are made for one, which the network sees beside them; --condition none leaves them out"
            self._choose("condition", sides, how)
        held_out = self._held_out()
        self._config = replace(self._config, validation_images=held_out)
        self._choose("held out", f"{held_out:,}", "their loss tells learning from memory; they are never trained on")
        if found.normalise != "pixels":
            self._choose("normalise", found.normalise, found.normalise_reason)
        self._choose(
            "sigma_data", f"{found.sigma_data:g}", "the data's standard deviation, for which the network is scaled"
        )
        value = f"P_mean {self._objective.p_mean:g}, P_std {self._objective.p_std:g}"
        if self._few:
            self._choose("objective", self._few, _FEW[self._few])
            self._choose("noise", value, "of the paper of this objective, scaled to the data")
            return
        towards = f"halfway from the paper's to {found.p_mean:g} and {found.p_std:g}"
        self._choose("noise", value, f"{towards}: {found.noise_reason}")

    def _held_out(self) -> int:
        count = self._findings.count
        if self._few and (before := held_out_by(self._config.start_from)) and before < count:
            return before  # what the model has never seen stays so
        share = min(_MOST_HELD_OUT, max(_FEWEST_HELD_OUT, round(_HELD_OUT_SHARE * count)))
        return share if share < count else 0

    def _choose_network(self) -> Speed:
        """The dearest network that still sees enough images, and has no more weights than the data have numbers."""
        found = self._findings
        chosen: tuple[NetworkPart, Speed] | None = None
        why = "the cheapest there is"
        for network in self._networks:
            self._say(f"timing {parts.to_text(network)}")
            speed = self._speed(replace(self._config, network=network))
            images = self._images(speed)
            if chosen is None and found.smaller and images < _TOO_FEW_IMAGES:
                raise ValueError(self._too_large(images))
            if chosen is not None and speed.weights > found.values:
                why += f"; the next has more weights than the data have numbers ({found.values / 1e6:.2g} million)"
                break
            patch = network.patch_side if isinstance(network, NetworkSettings) else 1
            positions = math.prod(side // patch for side in found.shape[1:])
            if chosen is not None and images * positions < _POSITIONS_PER_WEIGHT * speed.weights:
                why += f"; the next, with {speed.weights / 1e6:.2g} million, would see too few images in this time"
                break
            if chosen is not None:
                why = "the largest that sees enough images in this time"
            chosen = network, speed
        assert chosen is not None
        network, speed = chosen
        self._config = replace(self._config, network=network)
        if self._config.start_from:
            why = f"that of {self._config.start_from}, whose weights it begins with"
        size = f"{speed.weights / 1e6:.2g} million weights"
        if not isinstance(network, NetworkSettings):
            self._choose("network", f"{parts.name_of(network)}, {size}", why)
            return speed
        self._choose("network", f"{parts.name_of(network)}, {network.base_channels} channels, {size}", why)
        levels, attention, patch = len(network.channel_multipliers), network.attention_resolutions, network.patch_side
        if patch > 1:
            pixels, less = "x".join([str(patch)] * len(found.shape[1:])), patch ** len(found.shape[1:])
            self._choose("patches", pixels, f"pixels to a position: {_SHARES[less]} of the positions to compute")
        sides = "x".join(str(side // patch >> (levels - 1)) for side in found.shape[1:])
        self._choose("levels", f"{levels}, down to {sides}", self._why_levels(levels))
        value = ", ".join(map(str, attention)) or "none"
        cheap = "the lowest resolutions of these data, where it is cheap"
        self._choose("attention at", value, cheap if attention else "the lowest resolution has too many positions")
        return speed

    def _why_levels(self, levels: int) -> str:
        odd = [side for side in self._findings.shape[1:] if side % 2]
        if self._config.start_from:
            return "those of its model"
        if levels == 1 and odd and max(self._findings.shape[1:]) > 16:
            return f"a side of {odd[0]} cannot be halved, so the network sees no further than a few neighbours"
        return "sides are halved while they are even and not yet small"

    def _too_large(self, images: int) -> str:
        found = self._findings
        sides = "x".join(map(str, found.shape[1:]))
        return (
            f"in {self._seconds / 60:g} minutes this machine would train on {images:,} pictures of {sides}, too few "
            f"to learn from: make them smaller with `{found.smaller}`, and train on what that writes, or give more "
            "--minutes"
        )

    def _choose_batch(self, speed: Speed) -> Speed:
        """Twice as many images a step while that is much faster, and many steps are left."""
        why = "small batches take more steps, and these pay most in a short run"
        while self._config.batch_size * 2 <= _LARGEST_BATCH:
            twice = replace(self._config, batch_size=2 * self._config.batch_size)
            faster = self._speed(twice)
            steps = self._images(faster) // twice.batch_size
            if faster.images_per_second < _GAIN * speed.images_per_second or steps < _FEWEST_STEPS:
                break
            self._config, speed = twice, faster
            why = f"smaller ones are slower on this machine, and {steps:,} steps are left"
        self._choose("batch", f"{self._config.batch_size}", why)
        return speed

    def _choose_augmentation(self, speed: Speed) -> Speed:
        found = self._findings
        train = max(1, found.count - self._config.validation_images)
        passes = self._images(speed) / train
        seen = f"every image is seen {passes:,.0f} times" if passes >= 1 else "not every image is seen"
        if not found.pictures:
            self._choose("augmentation", "none", "it is for pictures")
        elif train > _FEW_IMAGES:
            self._choose("augmentation", "none", f"{train:,} images are many; {seen}")
        elif passes < _MANY_PASSES:
            reason = f"{seen}, and it pays only from about {_MANY_PASSES} times on"
            self._choose("augmentation", "none", reason)
        else:
            self._config = replace(self._config, augment=Augment.paper(_P))
            reason = f"{seen}; the network is told what was done, so samples come out upright"
            self._choose("augmentation", f"the paper's, p = {_P}", reason)
            return self._speed(self._config)
        return speed

    def _choose_rate(self, images: int) -> None:
        config, steps = self._config, images / self._config.batch_size
        rate = _rate_at_best(config.network) * math.sqrt(config.batch_size / _BATCH)
        rate *= min(1.0, (_RATE_STEPS / steps) ** 0.25)
        begun = _RATE_OF_TUNING if self._few else _RATE_OF_FINE_TUNING if config.start_from else 1.0
        rate = float(f"{rate * begun:.2g}")
        ramp = min(_RAMP_IMAGES * config.batch_size / _BATCH, _RAMP_SHARE * images)
        ramp = float(max(config.batch_size, round(ramp / config.batch_size) * config.batch_size))
        self._config = replace(
            config, lr=rate, lr_ramp_images=ramp, ema_half_life_images=float(f"{max(ramp, 0.05 * images):.2g}")
        )
        reason = f"for this width, batch and about {steps:,.0f} steps: half of what was the best at 28x28, to be safe"
        if self._few:
            reason = f"{begun:g} of that of a new model: the weights are good, and the target moves with them"
        self._choose("learning rate", f"{rate:g}, half a cosine to 0", reason)
        self._choose("ramp", f"{ramp:,.0f} images", f"{ramp / images:.0%} of the run")
        self._choose("averaged weights", "over the last 5%", "of the images seen, as in the paper")

    def _choose_length(self, speed: Speed, images: int) -> None:
        config, seconds, rate = self._config, self._seconds, self._rate(speed)
        batch = config.batch_size
        train = max(1, self._findings.count - config.validation_images)
        capped = images > _MOST_PASSES * train
        if capped:
            images = _MOST_PASSES * train
            seconds = images / rate
        expected = f"about {images:,} images in {seconds / 60:,.0f} minutes"
        why = f"{rate:,.0f} images/s here"
        if self._share < _BUSY:
            why += f", beside other work that leaves {self._share:.0%} of the machine"
        if capped:
            why += f"; after {_MOST_PASSES:,} passes over so few images more time brings nothing"
        self._choose("length", expected, why)
        memorisation = min(config.memorisation_samples, 16 if seconds < 1200 else 32)
        # A forward pass takes a third of a training step.
        affordable = _CHECKS_SHARE * seconds / _CHECKS * 3 * rate
        most = (affordable - memorisation * _EVALUATIONS) / _PASSES
        held_out = config.validation_images if self._few else min(config.validation_images, max(64, int(most)))
        every = max(batch, images // _CHECKS)
        first = min(_FIRST_PREVIEW_S, seconds / 20) * rate
        self._config = replace(
            config,
            duration_images=images if capped else 2 * images,
            validation_images=held_out,
            memorisation_samples=memorisation,
            log_images=max(batch, images // 200),
            checkpoint_images=every,
            preview_images=max(batch, int(first)),
        )
        self._choices = [
            replace(choice, value=f"{held_out:,}") if choice.setting == "held out" else choice
            for choice in self._choices
        ]
        self._choose("checks", f"every {every:,} images", f"{_CHECKS} in all: checkpoint, held-out loss, copies")
        self._choose("previews", f"from {first:,.0f} images on", "at growing intervals, from always the same seeds")

    def _notes(self) -> Iterator[str]:
        found = self._findings
        if found.count <= _SMALL_SET and found.pictures:
            yield (
                f"{found.count} pictures are too few to learn what such pictures have in common: expect variations "
                "of these at best, and copies of them if it trains for long. The run says when its samples become "
                "copies; best/ keeps the model with the lowest held-out loss."
            )
        if found.hidden and found.normalise == "pixels":
            yield (
                f"{found.hidden:,} pictures have colours hidden under transparent pixels, which the model would "
                "learn: --normalise transparent makes them white"
            )


def _objective(findings: Findings) -> objectives.EDM:
    """Noise levels halfway from the paper's, scaled to the data, to where the data say that there is most to learn.

    The preset fashion-mnist was tuned and came out there. Neither end is clearly better in brief trainings: see
    docs/results/recommended-noise.md.
    """
    paper = objectives.EDM()
    scaled = paper.noise.p_mean + math.log(findings.sigma_data / paper.sigma_data)
    return objectives.EDM(
        p_mean=float(f"{(scaled + findings.p_mean) / 2:.2g}"),
        p_std=float(f"{(paper.noise.p_std + findings.p_std) / 2:.2g}"),
        sigma_data=findings.sigma_data,
    )


Few = Literal["consistency", "scm"]
"""The objectives by which a model is tuned for few evaluations."""

_FEW: dict[Few, str] = {
    "consistency": "D at neighbouring noise levels agrees, ever nearer ones (ECT)",
    "scm": "the same in continuous time (sCM), by forward-mode differentiation",
}
_Known = objectives.EDM | objectives.Consistency | objectives.ContinuousConsistency


def _few_evaluations(few: Few, sigma_data: float) -> _Known:
    """The objective with the noise levels of its paper, whose data have a standard deviation of 0.5, for others."""
    paper = objectives.Consistency() if few == "consistency" else objectives.ContinuousConsistency()
    p_mean = paper.p_mean + math.log(sigma_data / paper.sigma_data)
    return replace(paper, p_mean=float(f"{p_mean:.2g}"), sigma_data=sigma_data)


def _rate_at_best(network: NetworkPart) -> float:
    """The learning rate for a batch of 32 and a few thousand steps, by a network's layers and width."""
    magnitude_preserving = isinstance(network, (MPUNetSettings, EDM2Settings))
    rate = _RATE if magnitude_preserving else _RATE_OF_STANDARD_LAYERS
    if not isinstance(network, NetworkSettings):
        return rate
    return rate * math.sqrt(_RATE_CHANNELS / network.base_channels)


def _without_labels(network: NetworkPart) -> NetworkPart:
    """The network of a model that was trained with labels, some of them dropped, for a training without."""
    return replace(network, label_dropout=0.0) if isinstance(network, NetworkSettings) else network
