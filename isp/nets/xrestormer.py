"""X-Restormer: Restormer with attention between sites in turn with the attention between channels.

X. Chen et al., "A Comparative Study of Image Restoration Networks for General Backbone Network Design", ECCV 2024,
Sec. 4; names of modules as in the released weights, sizes those for denoising. The attention between sites is the
overlapping cross-attention of X. Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR
2023, with the relative positions of A. Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual
Backbones", CVPR 2021. IID-AI used the network in the raw track of RAIM 2025.
Differs from the paper: the raw form gives 12 planes and a PixelShuffle and has no long skip; no enlargement first,
which the paper has for super-resolution.

Tiles are not parts of the whole, as for Restormer (see there). The windows besides are cut from the corner of the
input: a tile that begins at a multiple of 64 (8 x the window) has the windows of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, scaled_dot_product_attention

from isp.nets.restormer import GDFN, MDTA, Body, LayerNorm


def windows(x: Tensor, size: int, overlap: int) -> Tensor:
    """Square windows, `size` apart, that reach `overlap` / 2 into their neighbours: B C H W to B C h s w s,
    s = size + overlap and H = h size; zeros beyond the edges.

    Each window is a cell of a grid and the first `overlap` rows and columns of the next cell.
    """
    before, after = overlap // 2, size - overlap // 2
    x = (
        pad(x, (before, after, before, after)).unflatten(3, (-1, size)).unflatten(2, (-1, size))
    )  # B C h+1 size w+1 size
    x = torch.cat([x[:, :, :-1], x[:, :, 1:, :overlap]], 3)  # B C h s w+1 size
    return torch.cat([x[..., :-1, :], x[..., 1:, :overlap]], 5)


def tokens(x: Tensor, heads: int) -> Tensor:
    """B C h s w s to (B h w) heads (s s) C/heads."""
    b, c, h, s, w, _ = x.shape
    x = x.view(b, heads, c // heads, h, s, w, s).permute(0, 3, 5, 1, 4, 6, 2)  # B h w heads s s d
    return x.reshape(b * h * w, heads, s * s, c // heads)


class RelativePosition(nn.Module):
    """What a query adds to its attention to a key for where the key lies: q . (rel_height[dy] + rel_width[dx])."""

    def __init__(self, size: int, overlap: int, dim_head: int) -> None:
        super().__init__()
        self.size, self.reach = size, size + overlap
        self.rel_height = nn.Parameter(torch.randn(2 * self.reach - 1, dim_head) * dim_head**-0.5)
        self.rel_width = nn.Parameter(torch.randn(2 * self.reach - 1, dim_head) * dim_head**-0.5)

    def forward(self, q: Tensor) -> Tensor:
        """N heads (size size) d to N heads (size size) (s s)."""
        size, s = self.size, self.reach
        steps = torch.arange(s, device=q.device) - torch.arange(size, device=q.device)[:, None] + s - 1  # size s
        q = q.unflatten(2, (size, size))  # N heads y x d
        along_y = torch.einsum("nhyxd,ykd->nhyxk", q, self.rel_height[steps])
        along_x = torch.einsum("nhyxd,xkd->nhyxk", q, self.rel_width[steps])
        return (along_y[..., :, None] + along_x[..., None, :]).flatten(4).flatten(2, 3)


class OCA(nn.Module):
    """Overlapping cross-attention: the sites of a window attend to those of a larger window around it, beyond the
    edges to zeros. A key is 16 numbers a head whatever the width, so the weights, 144 a site and head for windows of 8,
    are what takes memory."""

    def __init__(self, width: int, window: int, overlap_ratio: float, heads: int, dim_head: int) -> None:
        super().__init__()
        self.window, self.overlap, self.heads = window, int(window * overlap_ratio), heads
        self.qkv = nn.Conv2d(width, 3 * heads * dim_head, 1, bias=False)
        self.project_out = nn.Conv2d(heads * dim_head, width, 1, bias=False)
        self.rel_pos_emb = RelativePosition(window, self.overlap, dim_head)
        self.scale = dim_head**-0.5

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=1)
        q = tokens(windows(q, self.window, 0), self.heads) * self.scale  # N heads 64 16 for windows of 8
        k = tokens(windows(k, self.window, self.overlap), self.heads)  # N heads 144 16
        v = tokens(windows(v, self.window, self.overlap), self.heads)
        y = scaled_dot_product_attention(q, k, v, attn_mask=self.rel_pos_emb(q), scale=1.0)
        y = y.view(b, h // self.window, w // self.window, self.heads, self.window, self.window, -1)
        y = y.permute(0, 3, 6, 1, 4, 2, 5).reshape(b, -1, h, w)
        return self.project_out(y)


class XRestormerBlock(nn.Module):
    """B C H W to the same: attention between channels, then between sites, each followed by a feed-forward network."""

    def __init__(
        self,
        width: int,
        channel_heads: int,
        spatial_heads: int,
        window: int,
        overlap_ratio: float,
        dim_head: int,
        expansion: float,
        bias_free: bool,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, bias_free)
        self.channel_attn = MDTA(width, channel_heads)
        self.norm2 = LayerNorm(width, bias_free)
        self.channel_ffn = GDFN(width, expansion)
        self.norm3 = LayerNorm(width, bias_free)
        self.spatial_attn = OCA(width, window, overlap_ratio, spatial_heads, dim_head)
        self.norm4 = LayerNorm(width, bias_free)
        self.spatial_ffn = GDFN(width, expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.channel_attn(self.norm1(x))
        x = x + self.channel_ffn(self.norm2(x))
        x = x + self.spatial_attn(self.norm3(x))
        return x + self.spatial_ffn(self.norm4(x))


def blocks(
    channel_heads: Sequence[int],
    spatial_heads: Sequence[int],
    window: int,
    overlap_ratio: float,
    dim_head: int,
    expansion: float,
    bias_free: bool,
) -> Callable[[int, int], nn.Module]:
    return lambda level, width: XRestormerBlock(
        width, channel_heads[level], spatial_heads[level], window, overlap_ratio, dim_head, expansion, bias_free
    )


class XRestormer(Body):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w."""

    kind = "raw"

    def __init__(
        self,
        planes: int = 4,
        dim: int = 48,
        num_blocks: Sequence[int] = (2, 4, 4, 4),
        num_refinement_blocks: int = 4,
        channel_heads: Sequence[int] = (1, 2, 4, 8),
        spatial_heads: Sequence[int] = (1, 2, 4, 8),
        overlap_ratio: float = 0.5,
        window_size: int = 8,
        spatial_dim_head: int = 16,
        ffn_expansion_factor: float = 2.66,
        bias_free: bool = False,
    ) -> None:
        block = blocks(
            channel_heads, spatial_heads, window_size, overlap_ratio, spatial_dim_head, ffn_expansion_factor, bias_free
        )
        super().__init__(planes, 12, dim, num_blocks, num_refinement_blocks, block)
        self.multiple = self.minimum = 8 * window_size

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.body(x), 2)


class XRestormerRGB(Body):
    """The form of the paper: B 3 H W to B 3 H W, a residual to its input."""

    kind = "rgb"

    def __init__(
        self,
        dim: int = 48,
        num_blocks: Sequence[int] = (2, 4, 4, 4),
        num_refinement_blocks: int = 4,
        channel_heads: Sequence[int] = (1, 2, 4, 8),
        spatial_heads: Sequence[int] = (1, 2, 4, 8),
        overlap_ratio: float = 0.5,
        window_size: int = 8,
        spatial_dim_head: int = 16,
        ffn_expansion_factor: float = 2.66,
        bias_free: bool = False,
    ) -> None:
        block = blocks(
            channel_heads, spatial_heads, window_size, overlap_ratio, spatial_dim_head, ffn_expansion_factor, bias_free
        )
        super().__init__(3, 3, dim, num_blocks, num_refinement_blocks, block)
        self.multiple = self.minimum = 8 * window_size

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
