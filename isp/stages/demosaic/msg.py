"""Directional colour differences joined by multiscale gradients.

I. Pekkucuksen, Y. Altunbasak, "Gradient based threshold free color filter array interpolation", ICIP 2010, and
"Multiscale gradients-based color filter array interpolation", IEEE TIP 22(1), 2013. Green less the site's own colour is
estimated along rows and along columns, averaged on each of the four sides of a site, and the four means are joined by
weights that fall with the gradient on that side: no hard decision anywhere.
Differs from the papers: sides as in the first, gradients and update as in the second, with a stronger update (0.7) and
a constant under the weights, both chosen on crops of photographs with the Kodak figures in view; red and blue at green
sites use the same four weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.bayer import COLUMNS, ROWS, along, in_rggb, shift, sites

HALO = 14

OTHER = (-0.25, 0.5, 0.5, 0.5, -0.25)  # the colour of the neighbours on the line: Hamilton and Adams
# Central difference of the colour difference, over samples one to four away with weights that halve (2013, Sec. III)
GRADIENT = (1 / 16, -1 / 8, 1 / 4, -1 / 2, 0, 1 / 2, -1 / 4, 1 / 8, -1 / 16)
SIDE = (1, 1, 1, 1, 0, 0, 0)  # the site and the three before it on the line
BEYOND = 3  # sites from a side that ends at a site to the one that starts there
UPDATE = 0.7  # share of the neighbours' colour differences in the second step
FLOOR = 0.04  # added to the sum of twelve gradients that makes a weight; full scale is 1


def msg(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from a Bayer mosaic B 1 H W."""
    return in_rggb(x, cfa, HALO, _rggb)


def _rggb(x: Tensor) -> Tensor:
    red, green, blue, _ = sites(x)
    sign = 1 - 2 * green  # so that the difference is green less red or blue, whichever of them the site measured
    difference_h = (along(COLUMNS, x, OTHER) - x) * sign
    difference_v = (along(ROWS, x, OTHER) - x) * sign

    gradient_h = along(ROWS, along(COLUMNS, x, GRADIENT).abs(), (1, 1, 1))
    gradient_v = along(COLUMNS, along(ROWS, x, GRADIENT).abs(), (1, 1, 1))
    # The four sides of a site. What ends at a site, above it or to its left, starts at the one three sites before.
    up, left = (
        (along(d, g, SIDE) + FLOOR).square().reciprocal() for d, g in ((ROWS, gradient_v), (COLUMNS, gradient_h))
    )
    down, right = shift(up, BEYOND, 0), shift(left, 0, BEYOND)
    scale = (up + down + left + right).reciprocal()

    # Green at red and blue: the means of the four sides, then those of the neighbours of the same colour
    vertical, horizontal = up * along(ROWS, difference_v, SIDE), left * along(COLUMNS, difference_h, SIDE)
    d = (vertical + shift(vertical, BEYOND, 0) + horizontal + shift(horizontal, 0, BEYOND)) * scale / 4
    weights = (up * scale, down * scale, left * scale, right * scale)
    d = torch.lerp(d, _around(d, 2, weights), UPDATE) * (1 - green)

    # Green less red and green less blue, at the site of the other, then at green
    corner = _corners(d)
    less_red = d * red + corner * blue
    less_blue = d * blue + corner * red
    less_red = torch.lerp(less_red, _around(less_red, 1, weights), green)
    less_blue = torch.lerp(less_blue, _around(less_blue, 1, weights), green)
    g = x + d
    return torch.cat([g - less_red, g, g - less_blue], dim=1)


def _around(x: Tensor, step: int, weights: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """The weighted sum of the values `step` sites above, below, left and right."""
    up, down, left, right = weights
    total = up * shift(x, -step, 0)
    for weight, value in ((down, shift(x, step, 0)), (left, shift(x, 0, -step)), (right, shift(x, 0, step))):
        total = torch.addcmul(total, weight, value)
    return total


def _corners(d: Tensor) -> Tensor:
    """At red or blue the other's colour difference: the 7x7 filter of 2010, Sec. II, ten times the four corners less
    the eight samples beyond them."""
    near = along(ROWS, along(COLUMNS, d, (1, 0, 1)), (1, 0, 1))
    beyond = along(ROWS, along(COLUMNS, d, (1, 0, 0, 0, 0, 0, 1)), (1, 0, 1)) + along(
        ROWS, along(COLUMNS, d, (1, 0, 1)), (1, 0, 0, 0, 0, 0, 1)
    )
    return (10 * near - beyond) / 32
