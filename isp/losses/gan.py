"""Adversarial losses, of the generator and of the discriminator, from the discriminator's outputs.

    vanilla       I. Goodfellow et al., NIPS 2014, with the generator's non-saturating form (Sec. 3)
    lsgan         X. Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, Eq. 9, without its halves
    hinge         J. H. Lim, J. C. Ye, "Geometric GAN", 2017
    relativistic  A. Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019: the average form, RaGAN

Outputs are logits, B or B 1 h w (one per image or per site). The discriminator's loss is the sum of the part on real
and the part on generated pictures; in "relativistic" each is judged against the mean of the others in this process's
batch.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import softplus


def mean(x: Tensor) -> Tensor:
    """B, of B ...; the mean over sites."""
    return x.flatten(1).mean(1) if x.ndim > 1 else x


def real(logits: Tensor) -> Tensor:
    """Cross-entropy of the claim that these are real."""
    return mean(softplus(-logits))


def fake(logits: Tensor) -> Tensor:
    """Cross-entropy of the claim that these are generated."""
    return mean(softplus(logits))


# (on generated, on real) to B
GENERATOR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "vanilla": lambda g, r: real(g),
    "lsgan": lambda g, r: mean((g - 1).square()),
    "hinge": lambda g, r: -mean(g),
    "relativistic": lambda g, r: real(g - r.mean()) + fake(r - g.mean()),
}
DISCRIMINATOR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "vanilla": lambda g, r: fake(g) + real(r),
    "lsgan": lambda g, r: mean(g.square()) + mean((r - 1).square()),
    "hinge": lambda g, r: mean((1 + g).relu()) + mean((1 - r).relu()),
    "relativistic": lambda g, r: fake(g - r.mean()) + real(r - g.mean()),
}


def generator_loss(kind: str, generated: Tensor, truth: Tensor) -> Tensor:
    """B: small where the discriminator takes the generated pictures for real.

    generated, truth: its logits on both, B or B 1 h w; those on the truth need no gradient, and only "relativistic"
    looks at them. ValueError for an unknown kind.
    """
    return _chosen(GENERATOR, kind)(generated, truth)


def discriminator_loss(kind: str, generated: Tensor, truth: Tensor) -> Tensor:
    """B: small where the discriminator tells them apart.

    generated, truth: its logits on both, B or B 1 h w; the generated pictures detached from their generator.
    """
    return _chosen(DISCRIMINATOR, kind)(generated, truth)


def _chosen(losses: dict[str, Callable[[Tensor, Tensor], Tensor]], kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    if kind not in losses:
        raise ValueError(f"GAN loss is {kind!r}; expected one of {', '.join(losses)}")
    return losses[kind]
