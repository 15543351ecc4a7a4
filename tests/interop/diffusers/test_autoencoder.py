"""Latents and images: the autoencoder of a pipeline's folder."""

from __future__ import annotations

import pytest
import torch

import elucidiff as ed
from tests.interop.diffusers.folders import pipeline

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:diffusers")


def test_latents_and_images_as_a_pipeline_has_them(tmp_path):
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.3,
        shift_factor=0.1,
    ).eval()
    folder = pipeline(tmp_path, "text", "ddim_cfg5")
    vae.save_pretrained(folder / "vae")
    autoencoder = ed.interop.diffusers.load_autoencoder(folder)
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        # As StableDiffusion3Pipeline does: latents / scaling_factor + shift_factor
        expected = vae.decode(z.float() / 0.3 + 0.1).sample
        latents = (vae.encode(expected).latent_dist.mode() - 0.1) * 0.3
    images = autoencoder.decode(z)
    assert images.dtype == torch.float64
    assert images.shape == (2, 3, 16, 16)
    torch.testing.assert_close(images.float(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(autoencoder.encode(expected), latents, rtol=0, atol=1e-6)
    # The rest of the folder is the diffusion model, in latents.
    assert ed.load(folder).sample_shape == (4, 8, 8)


def test_folders_without_an_autoencoder(tmp_path):
    folder = pipeline(tmp_path, "eps", "ddim_default")
    with pytest.raises(FileNotFoundError, match="has no autoencoder"):
        ed.interop.diffusers.load_autoencoder(folder)
    with pytest.raises(ValueError, match="UNet2DModel is no autoencoder"):
        ed.interop.diffusers.load_autoencoder(folder / "unet")
