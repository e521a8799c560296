"""Edge-only blur: pictures whose edges are soft while their texture stays, as over-eager denoisers leave them.

J. Canny, "A Computational Approach to Edge Detection", IEEE TPAMI 1986 (the mask); C. Tomasi and R. Manduchi,
"Bilateral Filtering for Gray and Color Images", ICCV 1998 (the blur). Both by kornia.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EXPONENT = 1 / 2.2  # edges are found, and colours compared, as the eye would: on an encoded picture
LOW, HIGH = 0.1, 0.2  # Canny's thresholds on the gradient's magnitude


def edge_blur(
    x: Tensor, *, size: int = 5, sigma_colour: float = 1.5, sigma_space: float = 1.5, margin: int = 2
) -> Tensor:
    """x with a bilateral filter within `margin` pixels of its edges, and as it was elsewhere; the shape of x.

    x: B 3 H W, linear, display-referred or camera RGB. size: of the filter, odd; sigma_space: pixels; sigma_colour:
    of the sum of the encoded channels' differences; edges of less contrast are blurred as by a plain Gaussian. The
    mask carries no gradient; it passes from edge to rest over one more pixel.
    """
    from kornia.filters import bilateral_blur, canny

    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"edge_blur needs B 3 H W, got {tuple(x.shape)}")
    encoded = x.clamp(min=1e-6) ** EXPONENT
    with torch.no_grad():
        edges = canny(encoded.clamp(max=1), LOW, HIGH)[1]  # B 1 H W, 0 or 1
        mask = F.max_pool2d(edges, 2 * margin + 1, stride=1, padding=margin)
        mask = F.avg_pool2d(F.pad(mask, (1,) * 4, mode="replicate"), 3, stride=1)
    blurred = bilateral_blur(encoded, size, sigma_colour, (sigma_space, sigma_space)) ** (1 / EXPONENT)
    return x + mask * (blurred - x)
