"""Augmentation of training batches. Random numbers are drawn on the CPU, so that they are the same on every device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(x: Tensor, crop: int, flip: bool) -> Tensor:
    """Shift each image at random, and mirror it at random.

    Args:
        x: Images (N, C, H, W).
        crop: Largest shift in pixels; black pixels fill the border.
        flip: Whether half of the images are mirrored.

    Returns:
        Images (N, C, H, W).
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = (torch.rand(n) < 0.5).to(x.device)
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    if crop:
        x = F.pad(x, [crop] * 4)
        shift = torch.randint(0, 2 * crop + 1, (2, n, 1)).to(x.device)
        rows = shift[0] + torch.arange(height, device=x.device)
        columns = shift[1] + torch.arange(width, device=x.device)
        each = torch.arange(n, device=x.device).view(-1, 1, 1)
        x = x[each, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    return x


def cutout(x: Tensor, side: int) -> Tensor:
    """Erase a square at a random place of each image, as Cutout does (DeVries and Taylor, 2017).

    Args:
        x: Images (N, C, H, W).
        side: Side of the square in pixels. Its centre is a pixel of the image, so that a part of it may lie outside.

    Returns:
        Images (N, C, H, W) whose erased pixels have the image's mean.
    """
    n, _, height, width = x.shape
    inside = []
    for size in (height, width):
        start = torch.randint(0, size, (n, 1)).to(x.device) - side // 2
        place = torch.arange(size, device=x.device)
        inside.append((place >= start) & (place < start + side))
    erased = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    return torch.where(erased.unsqueeze(1), x.mean((2, 3), keepdim=True), x)


def mixup(x: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each input of a batch and its target with another one (mixup; Zhang et al., ICLR 2018).

    Args:
        x: Inputs (N, …).
        targets: Rows (N, K) on the simplex.
        alpha: Parameter of the Beta distribution of the blend's weight, which the whole batch shares.

    Returns:
        Inputs (N, …) and rows (N, K) on the simplex.
    """
    weight = torch.distributions.Beta(alpha, alpha).sample().item()
    others = torch.randperm(len(x)).to(x.device)
    return torch.lerp(x[others], x, weight), torch.lerp(targets[others], targets, weight)


def smoothed(rows: Tensor, smoothing: float) -> Tensor:
    """Smooth labels (Szegedy et al., CVPR 2016).

    Args:
        rows: Rows (N, K) on the simplex.
        smoothing: Share of each row that all classes receive alike.

    Returns:
        The rows smoothed if each is a label alone; rows of probabilities as they are, since they tell how sure the
        victim is.
    """
    are_labels = bool((rows.amax(-1) == 1).all())
    return rows * (1 - smoothing) + smoothing / rows.shape[1] if are_labels else rows
