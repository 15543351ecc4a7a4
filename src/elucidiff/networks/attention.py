"""Self-attention over the positions of a feature map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.layers import Initialiser, linear
from elucidiff.networks.normalise import GroupNorm


class SelfAttention(nn.Module):
    """Residual self-attention: ``(x + W_out softmax(q^T k / sqrt(c)) v) * skip_scale`` on the normalised ``x``.

    Every position is a token, so any number of spatial dimensions will do. The layer ``qkv`` yields all queries, then
    all keys, then all values, each head after head.

    PyTorch's fused kernels have first derivatives by backpropagation only. For forward-mode or second derivatives
    call the network within ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.

    Args:
        channels: channels C, a multiple of ``heads``.
        heads: number of heads, each with ``c = channels / heads`` channels.
        eps: of the normalisation.
        skip_scale: factor on the sum.
        initialise_qkv: starting values of the layer to queries, keys and values.
        initialise_out: starting values of the layer after the attention.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        eps: float,
        skip_scale: float,
        initialise_qkv: Initialiser,
        initialise_out: Initialiser,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} attention heads do not divide {channels} channels: use other channels")
        self.heads, self.skip_scale = heads, skip_scale
        self.norm = GroupNorm(channels, eps)
        self.qkv = linear(channels, 3 * channels, initialise_qkv)
        self.out = linear(channels, channels, initialise_out)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the positions of ``(B, C, *spatial)``."""
        tokens: Tensor = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # (B, heads, positions, c) with c contiguous: PyTorch's fused kernels then apply. They keep the weights in
        # float32 whatever the type of q, k and v.
        tokens = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return (x + tokens.transpose(1, 2).view_as(x)) * self.skip_scale
