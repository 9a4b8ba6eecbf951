"""The tiny models' autoencoder: principal components of image patches, a fixed linear map."""

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


@dataclass
class PatchOutput(BaseOutput):
    """Latents (n, latent_channels, h, w) of `encode`, or images (n, 3, H, W) in [-1, 1] of `decode`."""

    sample: torch.Tensor


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Images (n, 3, H, W) in [-1, 1] to latents (n, latent_channels, H / patch, W / patch) and back.

    Every patch is projected on the leading principal components of the training patches, each divided by the square
    root of its standard deviation. It has nothing to train, and decoding costs one matrix product. It stands where
    Stable Diffusion has `AutoencoderKL`; diffusers finds this class by the module named in model_index.json.
    """

    @register_to_config
    def __init__(
        self,
        patch: int = 8,
        latent_channels: int = 64,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (192, 192, 192, 192),  # the pipeline reads the scale, 2^3, off its length
    ):
        super().__init__()
        width = 3 * patch * patch
        self.mean = torch.nn.Parameter(torch.zeros(width), requires_grad=False)
        self.analysis = torch.nn.Parameter(torch.zeros(latent_channels, width), requires_grad=False)
        self.synthesis = torch.nn.Parameter(torch.zeros(width, latent_channels), requires_grad=False)

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> "PatchAutoencoder":
        """Set the components from images (n, 3, H, W) in [-1, 1]; float64 inside."""
        patches = pixel_unshuffle(images.double(), self.config.patch).permute(0, 2, 3, 1).flatten(0, 2)
        mean = patches.mean(0)
        variances, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        keep = self.config.latent_channels
        variances, vectors = variances[-keep:].flip(0), vectors[:, -keep:].flip(1)
        vectors = vectors * vectors.sum(0).sign()  # eigenvectors have no sign of their own
        root = variances.sqrt().sqrt()
        self.mean.copy_(mean)
        self.analysis.copy_((vectors / root).T)
        self.synthesis.copy_(vectors * root)
        self.register_to_config(scaling_factor=float(1 / variances.sqrt().mean().sqrt()))
        return self

    def encode(self, x: torch.Tensor) -> PatchOutput:
        patches = pixel_unshuffle(x, self.config.patch).movedim(1, -1) - self.mean
        return PatchOutput(sample=(patches @ self.analysis.T).movedim(-1, 1))

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator=None):
        patches = (z.movedim(1, -1) @ self.synthesis.T + self.mean).movedim(-1, 1)
        images = pixel_shuffle(patches, self.config.patch)
        return PatchOutput(sample=images) if return_dict else (images,)
