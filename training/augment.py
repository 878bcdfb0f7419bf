"""Random changes to training pictures that do not change what is on them."""

import torch
from torch import Tensor
from torch.nn import functional


def augment_images(
    pixels_BHW3: Tensor, generator: torch.Generator, max_zoom: float = 1.25, max_shift: float = 0.1
) -> Tensor:
    """Mirror half of the pictures, and zoom and shift each a little; what comes in from outside is white.

    Args:
        pixels_BHW3: uint8.
        generator: Source of chance, so that a resumed run draws what the unbroken one would have drawn.
        max_zoom: Pictures are scaled by a factor in [1 / max_zoom, max_zoom].
        max_shift: Largest shift, as a fraction of the side.
    """
    batch = len(pixels_BHW3)
    zoom_B = max_zoom ** (torch.rand(batch, generator=generator) * 2 - 1)
    mirror_B = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    shift_B2 = (torch.rand(batch, 2, generator=generator) * 2 - 1) * 2 * max_shift
    transform_B23 = torch.zeros(batch, 2, 3)
    transform_B23[:, 0, 0] = mirror_B / zoom_B
    transform_B23[:, 1, 1] = 1 / zoom_B
    transform_B23[:, :, 2] = shift_B2
    # grid_sample fills with zeros: sample the negative, whose white is zero.
    negative_B3HW = 255.0 - pixels_BHW3.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(transform_B23, list(negative_B3HW.shape), align_corners=False)
    sampled_B3HW = functional.grid_sample(negative_B3HW, grid.to(pixels_BHW3.device), align_corners=False)
    return (255.0 - sampled_B3HW).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
