"""VQ-VAE (van den Oord et al. 2017): an image to a map of codes from a small dictionary, and back. What the dictionary
can say is said of objects never seen, too, piece by piece; VAL and PTP learn on these codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.errors import SettingsError
from lotj.nets.vae import PictureModel
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Checked

STRIDE = 4
"""Pixels to a cell of the map, a side."""

ROWS = 1024
"""Cells that are compared with the dictionary at once."""

LEAST_VARIANCE = 1e-4
"""Of pictures, which a reconstruction's error is divided by."""


@dataclass(frozen=True)
class VQVAEConfig(Checked):
    """Settings of a VQ-VAE. The defaults are the laptop preset; VAL has 128, 64, 512. Each term of the loss is a mean
    over the batch and all entries, so `commitment` does not depend on sizes."""

    image_size: Annotated[int, COUNT] = 48
    """Side of the images [pixels], a multiple of 4."""
    hidden: Annotated[int, COUNT] = 64
    """Channels of the convolutions."""
    residual_hidden: Annotated[int, COUNT] = 32
    """Channels within a residual layer."""
    residual_layers: Annotated[int, COUNT] = 3
    """Residual layers of the encoder, and of the decoder."""
    embedding: Annotated[int, COUNT] = 5
    """Numbers of a code: 12 x 12 x 5 = 720 of an image of 48 pixels."""
    codes: Annotated[int, COUNT] = 256
    """Entries of the dictionary."""
    commitment: Annotated[float, NOT_NEGATIVE] = 0.25
    """Weight of the term that holds the encoder to its codes (van den Oord et al.)."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Of Adam."""
    idle: Annotated[int, COUNT] = 100
    """Batches without use after which a code is moved to where the encoder is (Jukebox, Dhariwal et al. 2020): from a
    start at +-1 / `codes` most never are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % STRIDE:
            self._refuse("image_size", f"must be a multiple of {STRIDE}")

    @property
    def cells(self) -> int:
        """Cells of the map, a side."""
        return self.image_size // STRIDE

    @property
    def size(self) -> int:
        """D, numbers that describe an image."""
        return self.cells**2 * self.embedding


class ResidualStack(nn.Module):
    """Layers of ReLU, 3 x 3, ReLU, 1 x 1, each with a shortcut; ReLU at the end."""

    def __init__(self, channels: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(), nn.Conv2d(channels, hidden, 3, 1, 1, bias=False),
                nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False),
            )
            for _ in range(layers)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) of as many."""
        for layer in self.layers:
            x = x + layer(x)
        return F.relu(x)


class VQVAE(PictureModel):
    """Images are (B, 3, H, W) in [0, 1]; maps (B, E, h, w) of E numbers a cell; `numbers` (B, h, w) of codes."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config, self.size = config, config.size
        half, full = max(config.hidden // 2, 1), config.hidden
        stack = full, config.residual_hidden, config.residual_layers
        self.encoder = nn.Sequential(
            nn.Conv2d(3, half, 4, 2, 1), nn.ReLU(), nn.Conv2d(half, full, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(full, full, 3, 1, 1), ResidualStack(*stack), nn.Conv2d(full, config.embedding, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(config.embedding, full, 3, 1, 1), ResidualStack(*stack),
            nn.ConvTranspose2d(full, half, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(half, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
        start = torch.empty(config.codes, config.embedding).uniform_(-1.0 / config.codes, 1.0 / config.codes)
        self.dictionary = nn.Parameter(start)
        self.unused = nn.Buffer(torch.full((config.codes,), config.idle))

    def code(self, images: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) quantised, and log variances of 0: nothing is drawn."""
        codes = self.quantise(self.encode(images)).flatten(1)
        return codes, torch.zeros_like(codes)

    def picture(self, code: Tensor, context: Tensor) -> Tensor:
        """Images of (B, D)."""
        cells = self.config.cells
        return self.decode(code.unflatten(1, (self.config.embedding, cells, cells)))

    def encode(self, images: Tensor) -> Tensor:
        """Maps before they are quantised."""
        if images.shape[1:] != (shape := (3, self.config.image_size, self.config.image_size)):
            raise SettingsError(f"images of shape {tuple(images.shape)}: this VQ-VAE reads (B, {shape})")
        return self.encoder(images - 0.5)

    def nearest(self, maps: Tensor) -> Tensor:
        """Numbers of the nearest codes, int64."""
        flat = maps.permute(0, 2, 3, 1).reshape(-1, self.config.embedding)
        # ||e||^2 / 2 - x.e orders as ||x - e||^2 does; so many rows at a time that their distances stay in the cache.
        half = 0.5 * self.dictionary.square().sum(1)
        found = [F.linear(rows, -self.dictionary, half).argmin(1) for rows in flat.split(ROWS)]
        return torch.cat(found).view(len(maps), *maps.shape[2:])

    def look_up(self, numbers: Tensor) -> Tensor:
        """Maps of codes."""
        return F.embedding(numbers, self.dictionary).permute(0, 3, 1, 2)

    def quantise(self, maps: Tensor) -> Tensor:
        """Each cell's nearest code."""
        return self.look_up(self.nearest(maps))

    def decode(self, maps: Tensor) -> Tensor:
        """Images."""
        return 0.5 + 0.5 * self.decoder(maps)

    def losses(self, images: Tensor, first: Any = None) -> dict[str, Tensor]:
        """``reconstruction`` mean (s - s')^2 / variance, ``codebook`` mean (sg[z_e] - e)^2 and ``commitment``, weight
        times mean (z_e - sg[e])^2; the gradient of the first passes the quantisation straight through. The variance is
        the batch's around its mean picture, which would score 1. Without it (as in VAL's code) the others outweigh the
        first where little of a picture changes, and small pictures taught half as much in as many updates."""
        maps = self.encode(images)
        numbers = self.nearest(maps)
        if self.training:
            self._revive(maps.detach(), numbers)
            numbers = self.nearest(maps)
        codes = self.look_up(numbers)
        through = maps + (codes - maps).detach()
        variance = images.var(0, correction=0).mean().clamp_min(LEAST_VARIANCE)
        return {
            "reconstruction": F.mse_loss(self.decode(through), images) / variance,
            "codebook": F.mse_loss(codes, maps.detach()),
            "commitment": self.config.commitment * F.mse_loss(maps, codes.detach()),
        }

    @torch.no_grad()
    def rescale(self, images: Tensor) -> None:
        """Gives the entries of what `images` are encoded to a deviation of 1 and changes no picture. The losses fix no
        scale; with one, distances, and what is weighed against them, mean the same from training to training."""
        by = self.quantise(self.encode(images)).std().clamp_min(1e-6)
        last, first = self.encoder[-1], self.decoder[0]
        assert isinstance(last, nn.Conv2d) and isinstance(first, nn.Conv2d) and last.bias is not None
        for shrunk in (self.dictionary, last.weight, last.bias):
            shrunk.div_(by)
        first.weight.mul_(by)

    @torch.no_grad()
    def _revive(self, maps: Tensor, numbers: Tensor) -> None:
        """Moves codes that nothing has used for `idle` batches to cells of this one."""
        self.unused += 1
        self.unused[numbers.unique()] = 0
        dead = (self.unused > self.config.idle).nonzero()[:, 0]
        cells = maps.permute(0, 2, 3, 1).reshape(-1, self.config.embedding)
        self.dictionary[dead] = cells[torch.randint(len(cells), (len(dead),))]
        self.unused[dead] = 0
