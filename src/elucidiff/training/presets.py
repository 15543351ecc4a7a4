"""Settings that work, by name: two for small machines, and those of Karras et al. 2022 with their reported FIDs."""

from __future__ import annotations

from dataclasses import dataclass

from elucidiff.augment import Augment
from elucidiff.design import objectives, preconditioning
from elucidiff.networks import ADMSettings, DDPMPPSettings, MPUNetSettings
from elucidiff.suggest import suggestion
from elucidiff.training.config import TrainingConfig
from elucidiff.training.learning_rate import Cosine


@dataclass(frozen=True)
class Preset:
    """Settings and what came of them.

    Attributes:
        config: the settings.
        result: the quality that was reported for them, and by whom.

    >>> import elucidiff as ed
    >>> ed.training.PRESETS["cifar10"].result
    'FID 1.79 at 35 network evaluations (unconditional: 1.97), Karras et al. 2022'
    >>> ed.training.PRESETS["cifar10"].config.batch_size
    512
    """

    config: TrainingConfig
    result: str


DIGITS = Preset(
    TrainingConfig(
        data="digits",
        conditional=True,
        validation_images=360,
        network=DDPMPPSettings(
            base_channels=32,
            channel_multipliers=(1, 2),
            blocks_per_level=1,
            attention_resolutions=(4,),
            dropout=0.0,
        ),
        preconditioning=preconditioning.EDM(sigma_data=0.75),
        objective=objectives.EDM(p_mean=-0.4, sigma_data=0.75),
        duration_images=80_000,
        batch_size=64,
        lr=3e-3,
        lr_ramp_images=3_200,
        lr_decay=Cosine(),
        ema_half_life_images=64_000,
        log_images=3_200,
        checkpoint_images=40_000,
    ),
    result="8x8 handwritten digits in minutes on 2 cores",
)

FASHION_MNIST = Preset(
    TrainingConfig(
        data="fashion-mnist",
        conditional=True,
        validation_images=1_000,
        network=MPUNetSettings(
            base_channels=24,
            channel_multipliers=(1, 2, 4),
            blocks_per_level=1,
            attention_resolutions=(7,),
            dropout=0.0,
        ),
        preconditioning=preconditioning.EDM(sigma_data=0.71),
        objective=objectives.EDM(p_mean=-0.6, sigma_data=0.71),
        learned_loss_weighting=True,
        duration_images=4_000_000,
        max_minutes=30.0,
        batch_size=32,
        lr=6e-2,
        lr_gains=0.1,
        lr_ramp_images=6_400,
        lr_decay=Cosine(),
        ema_half_life_images=64_000,
        log_images=6_400,
        checkpoint_images=32_000,
    ),
    result="28x28 garments in half an hour on 2 cores",
)

# Karras et al. 2022, Table 7 and configuration F of Table 2; the FIDs are those of Table 2, 50,000 images each.
CIFAR10 = Preset(
    TrainingConfig(
        data="cifar10",
        conditional=True,
        network=DDPMPPSettings(
            base_channels=128,
            channel_multipliers=(2, 2, 2),
            blocks_per_level=4,
            attention_resolutions=(16,),
            dropout=0.13,
        ),
        augment=Augment.paper(p=0.12),
        duration_images=200_000_000,
        batch_size=512,
        lr=1e-3,
        lr_ramp_images=10e6,
        ema_half_life_images=500e3,
    ),
    result="FID 1.79 at 35 network evaluations (unconditional: 1.97), Karras et al. 2022",
)

FFHQ64 = Preset(
    TrainingConfig(
        data="ffhq64",
        network=DDPMPPSettings(
            base_channels=128,
            channel_multipliers=(1, 2, 2, 2),
            blocks_per_level=4,
            attention_resolutions=(16,),
            dropout=0.05,
        ),
        augment=Augment.paper(p=0.15),
        duration_images=200_000_000,
        batch_size=256,
        lr=2e-4,
        lr_ramp_images=10e6,
        ema_half_life_images=500e3,
    ),
    result="FID 2.39 at 79 network evaluations, Karras et al. 2022",
)

AFHQV2_64 = Preset(
    TrainingConfig(
        data="afhqv2-64",
        network=DDPMPPSettings(
            base_channels=128,
            channel_multipliers=(1, 2, 2, 2),
            blocks_per_level=4,
            attention_resolutions=(16,),
            dropout=0.25,
        ),
        augment=Augment.paper(p=0.15),
        duration_images=200_000_000,
        batch_size=256,
        lr=2e-4,
        lr_ramp_images=10e6,
        ema_half_life_images=500e3,
    ),
    result="FID 1.96 at 79 network evaluations, Karras et al. 2022",
)

IMAGENET64 = Preset(
    TrainingConfig(
        data="imagenet64",
        conditional=True,
        network=ADMSettings(
            base_channels=192,
            channel_multipliers=(1, 2, 3, 4),
            blocks_per_level=3,
            attention_resolutions=(32, 16, 8),
            dropout=0.10,
        ),
        duration_images=2_500_000_000,
        batch_size=4096,
        lr=1e-4,
        lr_ramp_images=10e6,
        ema_half_life_images=50e6,
        precision="fp16",
        loss_scale=100.0,
    ),
    result="FID 1.36 at 511 network evaluations with churn, Karras et al. 2022",
)

PRESETS: dict[str, Preset] = {
    "digits": DIGITS,
    "fashion-mnist": FASHION_MNIST,
    "cifar10": CIFAR10,
    "ffhq64": FFHQ64,
    "afhqv2-64": AFHQV2_64,
    "imagenet64": IMAGENET64,
}


def preset(name: str) -> TrainingConfig:
    """The settings of the preset ``name``.

    Raises:
        ValueError: there is none of that name; the message suggests the nearest.

    >>> import elucidiff as ed
    >>> ed.training.preset("digits").data
    'digits'
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; {suggestion(name, PRESETS)}")
    return PRESETS[name].config
