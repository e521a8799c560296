"""Restormer: a four-level U of transformer blocks whose attention is between channels.

S. W. Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022, Sec. 3 and 4;
names of modules as in the released weights. With bias-free norms and 4 planes it is stage 1 of team MiAlgo in the raw
track of RAIM 2025, and the generator of its stage 2.
Differs from the paper: the raw form gives 12 planes and a PixelShuffle and has no long skip. The RGB form is the
paper's; the weights released for denoising have bias-free norms, those for other tasks norms with bias.

The attention is between channels but measured over all sites: a tile is mixed by its own statistics, not by those of
the whole, so tiled never equals whole, and blending overlaps hides the step between tiles without removing it. Small
tiles are not worse for that: the weights saw patches of 128 to 384 samples (X. Chu et al., "Improving Image
Restoration by Revisiting Global Information Aggregation", ECCV 2022, gain by attention over windows of that size).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, normalize, pixel_shuffle

EPSILON = 1e-5  # of the release
PARTS = 4  # of a feed-forward network, one after the other: the hidden channels, all at once, are 5 x the input


class BiasFree(nn.Module):
    """Over the channels of each site: by the standard deviation alone, the mean stays."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.var(1, keepdim=True, unbiased=False) + EPSILON)  # B 1 H W
        return x * scale * self.weight[:, None, None]


class WithBias(nn.Module):
    """Over the channels of each site: to mean 0 and standard deviation 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.var(1, keepdim=True, unbiased=False) + EPSILON)  # B 1 H W
        return (x - x.mean(1, keepdim=True)) * scale * self.weight[:, None, None] + self.bias[:, None, None]


class LayerNorm(nn.Module):
    """One of the two; the papers denoise without bias."""

    def __init__(self, width: int, bias_free: bool) -> None:
        super().__init__()
        self.body = BiasFree(width) if bias_free else WithBias(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class MDTA(nn.Module):
    """Attention between channels, over all sites: each output channel is a mixture of the value channels of its head,
    weighted by how queries and keys correlate over the whole input. Linear in the number of sites."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.project_out = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k = (normalize(self.project(x, i), dim=-1) for i in (0, 1))  # B heads c/heads HW
        weights = (q @ k.transpose(-2, -1) * self.temperature).softmax(-1)  # B heads c/heads c/heads
        del q, k  # before the values take their place in memory
        mixed = weights @ self.project(x, 2)
        return self.project_out(mixed.reshape(b, c, h, w))

    def project(self, x: Tensor, i: int) -> Tensor:
        """Queries, keys or values."""
        c = x.shape[1]
        part = slice(i * c, (i + 1) * c)
        x = conv2d(conv2d(x, self.qkv.weight[part]), self.qkv_dwconv.weight[part], padding=1, groups=c)
        return x.reshape(x.shape[0], self.heads, c // self.heads, -1)


class GDFN(nn.Module):
    """Two branches of 1x1 and depth-wise 3x3 convolutions; one, through GELU, gates the other."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        hidden = int(width * expansion)
        self.project_in = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.project_out.in_channels
        size = -(-hidden // PARTS)
        return reduce(torch.add, (self.part(x, slice(i, i + size)) for i in range(0, hidden, size)))

    def part(self, x: Tensor, part: slice) -> Tensor:
        """What some of the hidden channels add to the output."""
        into = self.project_in.weight.unflatten(0, (2, -1))[:, part].flatten(0, 1)
        local = self.dwconv.weight.unflatten(0, (2, -1))[:, part].flatten(0, 1)
        gate, value = conv2d(conv2d(x, into), local, padding=1, groups=local.shape[0]).chunk(2, dim=1)
        return conv2d(gelu(gate) * value, self.project_out.weight[:, part])


class RestormerBlock(nn.Module):
    """B C H W to the same: transposed attention and gated feed-forward, each after a norm and within a skip."""

    def __init__(self, width: int, heads: int, expansion: float, bias_free: bool) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, bias_free)
        self.attn = MDTA(width, heads)
        self.norm2 = LayerNorm(width, bias_free)
        self.ffn = GDFN(width, expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, planes: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(planes, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Downsample(nn.Module):
    """B C H W to B 2C H/2 W/2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Upsample(nn.Module):
    """B C H W to B C/2 2H 2W."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Body(nn.Module):
    """The encoder-decoder of the paper's Fig. 2 out of any block: B planes H W to B out H W.

    block(level, width): a module that keeps B width H W, for level 0 (full size) to 3. The decoder is twice as wide as
    the encoder at level 0, where the paper does not reduce what it concatenates.
    """

    multiple = 8
    minimum = 8
    reach: int | None = None  # attention between channels is over the whole input

    def __init__(
        self,
        planes: int,
        out: int,
        dim: int,
        num_blocks: Sequence[int],
        num_refinement_blocks: int,
        block: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        if len(num_blocks) != 4:
            raise ValueError(f"num_blocks has {len(num_blocks)} levels; expected 4")

        def level(index: int, width: int) -> nn.Sequential:
            return nn.Sequential(*[block(index, width) for _ in range(num_blocks[index])])

        self.patch_embed = PatchEmbed(planes, dim)
        self.encoder_level1 = level(0, dim)
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = level(1, 2 * dim)
        self.down2_3 = Downsample(2 * dim)
        self.encoder_level3 = level(2, 4 * dim)
        self.down3_4 = Downsample(4 * dim)
        self.latent = level(3, 8 * dim)
        self.up4_3 = Upsample(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=False)
        self.decoder_level3 = level(2, 4 * dim)
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=False)
        self.decoder_level2 = level(1, 2 * dim)
        self.up2_1 = Upsample(2 * dim)
        self.decoder_level1 = level(0, 2 * dim)
        self.refinement = nn.Sequential(*[block(0, 2 * dim) for _ in range(num_refinement_blocks)])
        self.output = nn.Conv2d(2 * dim, out, 3, padding=1, bias=False)

    def body(self, x: Tensor) -> Tensor:
        first = self.encoder_level1(self.patch_embed(x))
        second = self.encoder_level2(self.down1_2(first))
        third = self.encoder_level3(self.down2_3(second))
        x = self.latent(self.down3_4(third))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), third], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), second], 1)))
        x = self.decoder_level1(torch.cat([self.up2_1(x), first], 1))
        return self.output(self.refinement(x))


def blocks(heads: Sequence[int], expansion: float, bias_free: bool) -> Callable[[int, int], nn.Module]:
    return lambda level, width: RestormerBlock(width, heads[level], expansion, bias_free)


class Restormer(Body):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w."""

    kind = "raw"

    def __init__(
        self,
        planes: int = 4,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias_free: bool = True,
    ) -> None:
        block = blocks(heads, ffn_expansion_factor, bias_free)
        super().__init__(planes, 12, dim, num_blocks, num_refinement_blocks, block)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.body(x), 2)


class RestormerRGB(Body):
    """The form of the paper: B 3 H W to B 3 H W, a residual to its input."""

    kind = "rgb"

    def __init__(
        self,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias_free: bool = False,
    ) -> None:
        block = blocks(heads, ffn_expansion_factor, bias_free)
        super().__init__(3, 3, dim, num_blocks, num_refinement_blocks, block)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
