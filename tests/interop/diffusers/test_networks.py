"""Networks of diffusers other than UNet2DModel, made by the library itself with random weights."""

from __future__ import annotations

import json

import pytest
import torch

import elucidiff as ed

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:diffusers")

X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def saved(root, network, scheduler, place):
    """A pipeline's folder, every weight of the network made different from zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    network.eval().save_pretrained(root / place)
    scheduler.save_pretrained(root / "scheduler")
    (root / "model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline"}))
    return root


def test_dit_takes_classes_and_learns_a_variance(tmp_path):
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
    )
    denoiser = ed.load(saved(tmp_path, network, diffusers.DDIMScheduler(clip_sample=False), "transformer"))
    assert (denoiser.sample_shape, denoiser.label_dim) == ((4, 8, 8), 10)
    labels = torch.tensor([2, 9])
    bar = diffusers.DDIMScheduler().alphas_cumprod[600].double()
    sigma = ((1 - bar) / bar).sqrt()
    with torch.no_grad():
        eps = network(X * bar.sqrt().float(), torch.tensor([600, 600]), class_labels=labels).sample[:, :4]
        torch.testing.assert_close(denoiser(X, sigma, labels), X - sigma.float() * eps, rtol=1e-4, atol=1e-4)
    # 10 stands for no class there.
    x = ed.interop.home_sample(denoiser, X, 4, labels=labels, guidance_scale=2.0, negative=torch.tensor([10, 10]))
    plain = ed.interop.home_sample(denoiser, X, 4, labels=labels)
    assert bool(x.isfinite().all())
    assert not torch.equal(x, plain)


def test_sd3_takes_several_conditions_by_name(tmp_path):
    torch.manual_seed(0)
    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=8,
        pooled_projection_dim=6,
        out_channels=4,
        pos_embed_max_size=8,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    denoiser = ed.load(saved(tmp_path, network, scheduler, "transformer"))
    generator = torch.Generator().manual_seed(5)
    conditions = {
        "encoder_hidden_states": torch.randn(2, 5, 12, generator=generator),
        "pooled_projections": torch.randn(2, 6, generator=generator),
    }
    sigma = 1.5  # t = sigma / (1 + sigma) = 0.6
    with torch.no_grad():
        velocity = network(X * 0.4, timestep=torch.tensor([600.0, 600.0]), **conditions).sample
        # x = x_0 + sigma n, and the network's output is n - x_0
        expected = (X - sigma * velocity) / (1 + sigma)
        torch.testing.assert_close(denoiser(X, sigma, conditions), expected, rtol=1e-4, atol=1e-5)
        scheduler.set_timesteps(3)
        x = X.double()
        for t in scheduler.timesteps:
            output = network(x.float(), timestep=t.expand(2), **conditions).sample
            x = scheduler.step(output.double(), t, x).prev_sample
    ours = ed.interop.home_sample(denoiser, X, 3, labels=conditions)
    torch.testing.assert_close(ours, x.float(), rtol=1e-4, atol=1e-5)
    sampled = ed.sample(denoiser, X, ed.steps.karras(3), labels=conditions)
    assert sampled.shape == X.shape
    with pytest.raises(ValueError, match="needs encoder_hidden_states"):
        denoiser(X, sigma, {"pooled_projections": conditions["pooled_projections"]})
    with pytest.raises(ValueError, match="takes no 'colour'"):
        denoiser(X, sigma, {**conditions, "colour": X})


def test_conditions_that_a_network_has_no_names_for_are_added_ones(tmp_path):
    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 + 2 * 4,
    )
    denoiser = ed.load(saved(tmp_path, network, diffusers.EulerDiscreteScheduler(), "unet"))
    text, pooled, sizes = torch.ones(1, 5, 12), torch.ones(1, 6), torch.tensor([[8.0, 8.0]])
    conditions = {"encoder_hidden_states": text, "text_embeds": pooled, "time_ids": sizes}
    bar = diffusers.DDIMScheduler().alphas_cumprod[300].double()
    sigma = ((1 - bar) / bar).sqrt()
    with torch.no_grad():
        added = {"text_embeds": pooled.expand(2, -1), "time_ids": sizes.expand(2, -1)}
        eps = network(
            X * bar.sqrt().float(), torch.tensor(300), text.expand(2, -1, -1), added_cond_kwargs=added
        ).sample
        torch.testing.assert_close(denoiser(X, sigma, conditions), X - sigma.float() * eps, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("distilled", [False, True])
def test_flux_sees_patches_of_a_latent(tmp_path, distilled):
    torch.manual_seed(0)
    network = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        axes_dims_rope=(2, 2, 4),
        guidance_embeds=distilled,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    denoiser = ed.load(saved(tmp_path, network, scheduler, "transformer"))
    generator = torch.Generator().manual_seed(5)
    conditions = {
        "encoder_hidden_states": torch.randn(2, 5, 12, generator=generator),
        "pooled_projections": torch.randn(2, 6, generator=generator),
    }
    x = torch.randn(2, 4, 6, 10, generator=generator)

    def velocity(x, time, guidance):
        """As FluxPipeline asks: patches of 2x2, and the row and column of each."""
        patches = torch.nn.functional.unfold(x, 2, stride=2).mT
        output = network(
            patches,
            timestep=torch.full((2,), time / 1000),
            guidance=torch.full((2,), guidance) if distilled else None,
            img_ids=torch.tensor([[0.0, row, column] for row in range(3) for column in range(5)]),
            txt_ids=torch.zeros(5, 3),
            **conditions,
        ).sample
        return torch.nn.functional.fold(output.mT, (6, 10), 2, stride=2)

    sigma = 1.5  # t = sigma / (1 + sigma) = 0.6
    with torch.no_grad():
        expected = (x - sigma * velocity(x * 0.4, 600.0, 3.5)) / (1 + sigma)
        torch.testing.assert_close(denoiser(x, sigma, conditions), expected, rtol=1e-4, atol=1e-5)
        if distilled:
            expected = (x - sigma * velocity(x * 0.4, 600.0, 1.0)) / (1 + sigma)
            given = {**conditions, "guidance": torch.ones(1)}
            torch.testing.assert_close(denoiser(x, sigma, given), expected, rtol=1e-4, atol=1e-5)
        scheduler.set_timesteps(3)
        y = x.double()
        for t in scheduler.timesteps:
            y = scheduler.step(velocity(y.float(), float(t), 3.5).double(), t, y).prev_sample
    ours = ed.interop.home_sample(denoiser, x, 3, labels=conditions)
    torch.testing.assert_close(ours, y.float(), rtol=1e-4, atol=1e-5)
    assert ed.sample(denoiser, x, ed.steps.karras(3), labels=conditions).shape == x.shape
    for wrong, message in (
        ({"encoder_hidden_states": conditions["encoder_hidden_states"]}, "needs pooled_projections"),
        (conditions["encoder_hidden_states"], "needs conditions by name"),
        ({**conditions, "colour": x}, "takes no 'colour'"),
    ):
        with pytest.raises(ValueError, match=message):
            denoiser(x, sigma, wrong)
    with pytest.raises(ValueError, match="with even sides"):
        denoiser(x[..., :5], sigma, conditions)
