"""A gated PixelCNN (van den Oord et al. 2016) over the codes of an image, given those of another: which outcomes are
possible in this scene (VAL, Khazatsky et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.errors import SettingsError
from lotj.ranges import COUNT, POSITIVE, Checked


@dataclass(frozen=True)
class PixelCNNConfig(Checked):
    """Settings of a PixelCNN. The defaults are the laptop preset; VAL has 144 channels and 15 layers."""

    channels: Annotated[int, COUNT] = 48
    """Of both stacks."""
    layers: Annotated[int, COUNT] = 8
    """The first looks 3 cells around, without the cell itself, the others one."""
    head: Annotated[int, COUNT] = 128
    """Channels before the logits; VAL has 512."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Of Adam. VAL has 3e-4, for many more updates."""


class GatedLayer(nn.Module):
    """One layer of both stacks. The vertical one sees rows above, the horizontal one cells to the left and what the
    vertical one says; `first` leaves out the cell itself."""

    def __init__(self, channels: int, first: bool) -> None:
        super().__init__()
        self.reach, self.first = (3, True) if first else (1, False)
        width = 2 * self.reach + 1
        self.vertical = nn.Conv2d(channels, 2 * channels, (self.reach + 1, width))
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, self.reach + 1))
        self.across = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def kernels(self) -> tuple[Tensor, Tensor]:
        """Weights of both stacks; in the first layer those of the own row, or the own cell, are 0."""
        vertical, horizontal = self.vertical.weight, self.horizontal.weight
        if not self.first:
            return vertical, horizontal
        return F.pad(vertical[:, :, :-1], (0, 0, 0, 1)), F.pad(horizontal[..., :-1], (0, 1))

    def rise(self, above: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """What the vertical stack makes of rows `above` (B, C, rows + reach, w + 2 reach), padded: the (B, 2 C, rows,
        w) that the horizontal one reads, and its own (B, C, rows, w)."""
        seen = F.conv2d(above, self.kernels()[0], self.vertical.bias)
        return self.across(seen), gate(seen + condition)

    def run(self, left: Tensor, across: Tensor, condition: Tensor) -> Tensor:
        """What the horizontal stack makes of cells to the `left` (B, C, rows, cells + reach), padded: (B, C, rows,
        cells)."""
        seen = F.conv2d(left, self.kernels()[1], self.horizontal.bias)
        made = self.out(gate(seen + across + condition))
        return made if self.first else made + left[..., self.reach :]


def gate(both: Tensor) -> Tensor:
    """tanh of half of the channels, times the sigmoid of the others."""
    signal, opening = both.chunk(2, 1)
    return torch.tanh(signal) * torch.sigmoid(opening)


class PixelCNN(nn.Module):
    """p(x | context) over maps of numbers x (B, h, w) int64 in [0, codes), row by row; the context is a map
    (B, E, h, w) of floats, which is seen around each cell through two convolutions. (VAL's code adds one vector to all
    cells alike, from which no cell can tell what is beside it.)"""

    def __init__(self, config: PixelCNNConfig, codes: int, context: int, cells: int) -> None:
        super().__init__()
        self.config, self.codes, self.cells = config, codes, cells
        channels = config.channels
        self.embedding = nn.Embedding(codes, channels)
        self.layers: Any = nn.ModuleList(GatedLayer(channels, number == 0) for number in range(config.layers))
        self.condition = nn.Sequential(
            nn.Conv2d(context, channels, 5, 1, 2), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels * config.layers, 1),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Conv2d(channels, config.head, 1), nn.ReLU(), nn.Conv2d(config.head, codes, 1))

    def forward(self, numbers: Tensor, context: Tensor) -> Tensor:
        """(B, codes, h, w) logits of each cell, from the cells before it."""
        if numbers.shape[1:] != (self.cells, self.cells):
            raise SettingsError(f"codes of shape {tuple(numbers.shape)}: this PixelCNN reads (B, {self.cells} a side)")
        vertical = horizontal = self.embedding(numbers).permute(0, 3, 1, 2)
        for layer, condition in zip(self.layers, self.condition(context).chunk(len(self.layers), 1), strict=True):
            reach = layer.reach
            across, vertical = layer.rise(F.pad(vertical, (reach, reach, reach, 0)), condition)
            horizontal = layer.run(F.pad(horizontal, (reach, 0)), across, condition)
        return self.head(horizontal)

    def log_prob(self, numbers: Tensor, context: Tensor) -> Tensor:
        """(B,) nats, summed over the cells."""
        return -F.cross_entropy(self(numbers, context), numbers, reduction="none").sum((1, 2))

    def losses(self, numbers: Tensor, context: Tensor) -> dict[str, Tensor]:
        """``nats``: mean of -log p over batch and cells, ()."""
        return {"nats": F.cross_entropy(self(numbers, context), numbers)}

    @torch.no_grad()
    def sample(self, context: Tensor, generator: torch.Generator) -> Tensor:
        """(B, h, w) draws, one for each context. Each row of the vertical stack and each cell of the horizontal one is
        computed once, from what is kept of those before: the work of one pass instead of one for each cell."""
        rows, side, channels = len(context), self.cells, self.config.channels
        conditions = self.condition(context).chunk(len(self.layers), 1)
        # What each layer reads, with zeros around as in `forward`; the last horizontal entry is what the head reads.
        zeros = context.new_zeros
        above = [zeros(rows, channels, side + x.reach, side + 2 * x.reach) for x in self.layers]
        left = [zeros(rows, channels, side, side + x.reach) for x in self.layers]
        drawn = torch.zeros(rows, side, side, dtype=torch.int64, device=context.device)
        for y in range(side):
            across: list[Tensor] = []
            for number, (layer, condition) in enumerate(zip(self.layers, conditions, strict=True)):
                seen, made = layer.rise(above[number][:, :, y : y + layer.reach + 1], condition[:, :, y : y + 1])
                across.append(seen)
                if number + 1 < len(above):
                    reach = self.layers[number + 1].reach
                    above[number + 1][:, :, y + reach, reach : reach + side] = made[:, :, 0]
            for x in range(side):
                cell = zeros(0)
                for number, (layer, condition) in enumerate(zip(self.layers, conditions, strict=True)):
                    place = slice(y, y + 1), slice(x, x + 1)
                    seen = left[number][:, :, y : y + 1, x : x + layer.reach + 1]
                    cell = layer.run(seen, across[number][:, :, :, x : x + 1], condition[:, :, *place])
                    if number + 1 < len(left):
                        left[number + 1][:, :, y, x + self.layers[number + 1].reach] = cell[:, :, 0, 0]
                chances = torch.softmax(self.head(cell)[:, :, 0, 0], 1)
                drawn[:, y, x] = torch.multinomial(chances, 1, generator=generator)[:, 0]
                embedded = self.embedding(drawn[:, y, x])
                reach = self.layers[0].reach
                left[0][:, :, y, x + reach] = embedded
                above[0][:, :, y + reach, x + reach] = embedded
        return drawn
