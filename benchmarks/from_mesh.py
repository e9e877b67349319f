r"""Connectors turned into meshes and back: how far each dimension is from the file that it came from.

    python benchmarks/from_mesh.py --out results/benchmarks/from_mesh.json

Twelve connectors of the training and validation splits, one a family. The meshes of plug and socket are each turned
about the vertical by an angle and moved by up to 30 mm; of the pose nothing is given. The connector's own frame is
found up to a symmetry of the part by quarter turns, so the features are compared after the best of these. Clearances
are compared where an element has a cavity, since that is what the file's clearance makes; the file's insertion depth is
a convention (at most the length of the longest element), so it is shown beside the measured travel and not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scipy.spatial.transform import Rotation
from side_by_side import record

from lotj import geometry
from lotj.sim.cad.measure import measure
from lotj.sim.cad.seating import assembled_seat, find_seat
from lotj.sim.cad.solid import Solid, load_solid, solid_of, write_stl
from lotj.sim.connector import CATALOGUE, Connector, Feature, load_connector_file, parse_connector
from lotj.sim.solids import outline, plug_pieces, socket_pieces

PARTS = (
    "usb-b", "duplo-2x2", "dc-5-5x2-1", "nema-l5-20", "hex-10", "key-car", "peg-d-10", "cap-round-16", "bnc", "hdmi-a",
    "iec-c13", "jst-xh-4",
)  # fmt: skip
LIMIT = 0.05
"""Largest difference that counts as the same [mm]."""


def meshes(part: Connector, folder: Path, rng: np.random.Generator | None) -> tuple[Solid, Solid]:
    """Plug and socket through STL files, each in a frame of its own where there is a generator."""
    if part.split not in ("train", "validation"):
        raise ValueError(f"{part.name}: only connectors that choices are made on")
    solids = []
    for side, pieces in (("plug", plug_pieces(part)), ("socket", socket_pieces(part))):
        solid = solid_of(side, pieces)
        if rng is not None:
            turn = Rotation.from_euler("z", rng.uniform(-180, 180), degrees=True).as_matrix()
            solid = solid.moved(turn, rng.uniform(-30, 30, 3))
        write_stl(folder / f"{part.name}-{side}.stl", solid)
        solids.append(load_solid(folder / f"{part.name}-{side}.stl"))
    return solids[0], solids[1]


def recovered(part: Connector, folder: Path, rng: np.random.Generator | None) -> Connector:
    """The connector that is measured from the meshes of another."""
    plug, socket = meshes(part, folder, rng)
    seat = assembled_seat(plug, socket) if rng is None else find_seat(plug, socket)
    return parse_connector(tomllib.loads(measure(seat, part.name).text()), part.name)


def quarter(connector: Connector, turns: int) -> dict[str, Any]:
    """What a quarter turn changes: outlines of the features, widths of housing and body."""
    shapes = [shapely.Polygon(geometry.rotate(outline(f), turns * np.pi / 2, (0.0, 0.0))) for f in connector.features]
    swap = slice(None, None, -1 if turns % 2 else 1)
    return {"shapes": shapes, "housing": connector.housing_size[swap], "body": connector.body_size[swap]}


def of_feature(old: Feature, new: Feature) -> dict[str, float]:
    """Differences of two features but for their cross-sections [mm]."""
    names = ["length", "base", "chamfer", "wall"]
    names += ["clearance", "lead_in"] if old.on == "plug" and old.cavity else []
    return {name: 1e3 * abs(getattr(old, name) - getattr(new, name)) for name in names}


def differences(old: Connector, new: Connector) -> dict[str, float]:
    """Largest difference of each dimension over the features that collide [mm]; inf where a feature is missing."""
    solid = [i for i, f in enumerate(old.features) if not f.visual]
    if len(solid) != len([f for f in new.features if not f.visual]):
        return {"features": float("inf")}
    first, best = quarter(old, 0), {"features": float("inf")}
    for turns in range(4):
        other, found = quarter(new, turns), {}
        for name in ("housing", "body"):
            found[name] = 1e3 * float(np.abs(np.subtract(first[name], other[name])).max())
        for name in ("housing_height", "body_height", "body_gap"):
            found[name] = 1e3 * abs(getattr(old, name) - getattr(new, name))
        for i in solid:
            apart = [
                1e3 * shapely.hausdorff_distance(first["shapes"][i], shape) if f.on == old.features[i].on else np.inf
                for f, shape in zip(new.features, other["shapes"], strict=True)
            ]
            nearest = int(np.argmin(apart))
            here = of_feature(old.features[i], new.features[nearest]) | {"cross_section": float(apart[nearest])}
            found |= {name: max(value, found.get(name, 0.0)) for name, value in here.items()}
        best = min(best, found, key=lambda d: max(d.values()))
    return {name: round(value, 4) for name, value in best.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows, rng = [], np.random.default_rng(asked.seed)
    for name in asked.parts:
        part, start = load_connector_file(CATALOGUE / f"{name}.toml"), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = recovered(part, Path(folder), rng)
        off = differences(part, found)
        depths = {"file": round(1e3 * part.insertion_depth, 3), "travel": round(1e3 * found.insertion_depth, 3)}
        row = {"connector": name, "family": part.family, "largest_mm": max(off.values()), "mm": off}
        rows.append(row | {"insertion_depth_mm": depths, "seconds": round(time.perf_counter() - start, 1)})
        print(f"{name}: {row['largest_mm']:.4f} mm ({max(off, key=lambda k: off[k])})", flush=True)
    within = sum(row["largest_mm"] <= LIMIT for row in rows)
    summary = {"parts": len(rows), "within": within, "limit_mm": LIMIT, "worst": max(r["largest_mm"] for r in rows)}
    print(summary)
    record({"seed": asked.seed, "summary": summary, "rows": rows}, asked.out)


if __name__ == "__main__":
    main()
