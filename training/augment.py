"""Augmentation of whole batches through kornia: strong from scratch, RandAugment for the published stages.

kornia is imported when an augmentation is built: the app reuses the stages' steps and does without it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scicevpr.config import IMAGENET_MEAN, IMAGENET_STD


def normalise(photos: Tensor) -> Tensor:
    """[N, 3, H, W] in [0, 1] -> ImageNet-normalised."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (photos - mean) / std


class StrongAugmentation(nn.Module):
    """Crop, tilt, light, colour, blur, noise, erasing: [N, 3, h, w] uint8 -> [N, 3, pixels, pixels] normalised.

    The crop's aspect ratio is centred on the photo's own, because evaluation squeezes the whole photo to a square.
    ``mirror`` [N] flips photos; flip all photos of a place or none, since a mirrored place is another place.
    """

    def __init__(self, pixels: int, aspect: float = 4 / 3) -> None:
        import kornia.augmentation as K

        super().__init__()
        self.geometry = K.AugmentationSequential(
            K.RandomAffine(degrees=4.0, shear=4.0, p=0.4, padding_mode="border"),
            K.RandomResizedCrop((pixels, pixels), scale=(0.65, 1.0), ratio=(aspect / 1.2, aspect * 1.2), p=1.0),
            data_keys=["input"],
        )
        self.colour = K.AugmentationSequential(
            K.ColorJitter(0.3, 0.3, 0.3, 0.03, p=0.7),
            K.RandomGamma((0.75, 1.4), (0.95, 1.05), p=0.3),
            K.RandomGrayscale(p=0.05),
            K.RandomGaussianBlur((3, 3), (0.2, 1.0), p=0.2),
            K.RandomGaussianNoise(std=0.02, p=0.25),
            K.RandomErasing(scale=(0.02, 0.12), ratio=(0.3, 3.3), p=0.25),
            data_keys=["input"],
        )

    @torch.no_grad()
    def forward(self, photos: Tensor, mirror: Tensor) -> Tensor:
        x = photos.float() / 255
        x[mirror] = x[mirror].flip(-1)
        x = self.geometry(x)
        cast = 1 + 0.05 * torch.randn(len(x), 3, 1, 1)
        return normalise(self.colour((x * cast).clamp(0, 1)).clamp(0, 1))


class PublishedAugmentation(nn.Module):
    """The published recipe's RandAugment: [N, 3, h, w] uint8 -> [N, 3, rows, columns] normalised.

    ``pixels``: (rows, columns), or one number for both.
    """

    def __init__(self, pixels: int | tuple[int, int], operations: int = 3, magnitude: int = 9) -> None:
        import kornia.augmentation as K
        from kornia.augmentation.auto import RandAugment

        super().__init__()
        self.resize = K.Resize((pixels, pixels) if isinstance(pixels, int) else pixels, antialias=True)
        self.random = RandAugment(n=operations, m=magnitude)

    @torch.no_grad()
    def forward(self, photos: Tensor) -> Tensor:
        x = self.resize(photos.float() / 255)
        # drawn per photo: kornia would otherwise apply one draw of operations to the whole batch
        x = torch.cat([self.random(photo[None]) for photo in x])
        return normalise(x.clamp(0, 1))
