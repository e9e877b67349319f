"""A picture of meshes and of the features that stand for them, one over the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely

from lotj.files import atomic_file
from lotj.sim.cad.measure import Measured
from lotj.sim.cad.solid import Solid, solid_of
from lotj.sim.connector import Connector
from lotj.sim.solids import plug_pieces, socket_pieces

_COLOURS = {"plug": ("#9ec3e6", "#c00000"), "socket": ("#d9d9d9", "#00641e")}  # mesh, features


def draw_measured(path: Path, measured: Measured, connector: Connector) -> None:
    """A PNG of two upright cuts and a level one, each through the middle of the largest feature of the plug: the meshes
    as areas, the features as lines. StorageError if it cannot be written."""
    import matplotlib.figure  # a second to import

    largest = max((f for f in connector.features if f.on == "plug"), key=lambda f: f.size[0] * f.size[1])
    x, y = 1e3 * np.array(largest.centre)
    z = 1e3 * (largest.base - largest.length / 2)
    features = {
        "plug": solid_of("plug", plug_pieces(connector)),
        "socket": solid_of("socket", socket_pieces(connector)),
    }
    meshes = {"plug": measured.plug, "socket": measured.socket}
    figure = matplotlib.figure.Figure(figsize=(15, 6), layout="constrained")
    for axes, across, at in zip(figure.subplots(1, 3), "yxz", (y, x, z), strict=True):
        for side, (area, line) in _COLOURS.items():
            for ring in _rings(meshes[side], across, at):
                axes.add_patch(ring(facecolor=area, edgecolor="#808080", linewidth=0.5))
            for ring in _rings(features[side], across, at):
                axes.add_patch(ring(fill=False, edgecolor=line, linewidth=1.0))
        names = "xyz".replace(across, "")
        axes.set(title=f"{across} = {at:.1f} mm", xlabel=f"{names[0]} [mm]", ylabel=f"{names[1]} [mm]", aspect="equal")
        axes.autoscale_view()
        axes.grid(alpha=0.3)
    title = f"{connector.name}: meshes (areas) and features (lines); plug blue and red, socket grey and green"
    figure.suptitle(title)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _rings(solid: Solid, across: str, at: float) -> Iterator:
    """The areas of a cut across an axis, as patches to be made with colours."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    # Along x one looks with y to the right and z up, along y with x to the right.
    view = {"z": np.eye(3), "x": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])}
    view["y"] = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    level = -at if across == "y" else at
    cut = solid.moved(view[across], np.zeros(3)).section(level + 1e-3)
    for area in shapely.get_parts(cut):
        rings = [shapely.get_coordinates(r) for r in (area.exterior, *area.interiors)]
        outline = Outline.make_compound_path(*(Outline(r, closed=True) for r in rings))
        yield lambda outline=outline, **colours: PathPatch(outline, **colours)
