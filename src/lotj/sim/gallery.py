"""Pictures of connectors and of the bench for people: contact sheet, portrait, and the README's picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lotj.sim.arm import ARMS
from lotj.sim.bench import Bench
from lotj.sim.connector import SPLITS, Connector
from lotj.sim.drawing import Drawing, free_camera
from lotj.sim.randomization import Randomization

_GAP = 8e-3
"""Gap between plug and socket in a portrait [m]."""


def portrait(connector: Connector, pixels: int) -> np.ndarray:
    """Plug above its socket, seen from the side and above, scaled to fill the picture: (pixels, pixels, 3) uint8."""
    drawn = Randomization(plug_colour=connector.plug_colour, socket_colour=connector.socket_colour)
    bench = Bench(connector, ARMS["duo"], drawn, image_size=64)
    bench.reset(np.zeros(2), _GAP)
    for name in ("palm", "finger-0", "finger-1"):
        bench.model.geom(name).rgba[3] = 0.0
        bench.model.geom(name).matid[:] = -1
    bench.model.vis.quality.offsamples = 4
    top = bench.contact_height + _GAP + connector.body_gap + connector.body_height
    widest = max(*connector.housing_size, *connector.body_size)
    middle = 0.5 * (top - 0.4 * connector.housing_height)
    distance = 1.75 * max(widest, top + 0.4 * connector.housing_height)
    camera = free_camera((0.0, 0.0, middle), distance, azimuth=62.0, elevation=-28.0)
    return Drawing(bench.model)(bench.data, [camera], pixels, pixels)[0]


def contact_sheet(connectors: Iterable[Connector], cell: int = 200, columns: int = 8) -> Image.Image:
    """All connectors in a grid with name and family; names black in training, blue in validation, red in test, violet
    where blind, green where a challenge."""
    parts, caption = list(connectors), 34
    colours: dict[str, Any] = dict(zip(SPLITS, ("#282828", "#145aaa", "#b4281e", "#8c3caa", "#1e823c"), strict=True))
    sheet = Image.new("RGB", (columns * cell, -(-len(parts) // columns) * (cell + caption)), (250, 250, 250))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for i, part in enumerate(parts):
        x, y = (i % columns) * cell, (i // columns) * (cell + caption)
        sheet.paste(Image.fromarray(portrait(part, cell)), (x, y))
        draw.text((x + 5, y + cell + 2), part.name, fill=colours[part.split], font=font)
        draw.text((x + 5, y + cell + 17), part.family, fill=(120, 120, 120), font=font)
    return sheet
