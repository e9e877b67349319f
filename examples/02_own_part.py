"""A part of your own: read its file, check it on the simulated bench, draw it.

    python examples/02_own_part.py my_plug.toml

A connector is one TOML file (docs/connectors.md). Before a robot practises on it, it has to behave on the bench:
a scripted expert that is told where the socket is inserts it, a plug 3 mm beside its socket never slides in by
itself, and nothing interpenetrates. Catalogue connectors are held to the same.

Takes about two seconds. Prints the three findings and writes my_plug.png: plug and socket.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lotj.envs.registry import expert_of, make_task
from lotj.sim.connector import find_connector
from lotj.sim.gallery import contact_sheet

FILE = Path(__file__).with_name("my_plug.toml")


def expert_inserts(task: str, trials: int) -> tuple[int, float]:
    """How many of so many insertions from 10 to 20 mm beside succeed, and how deep parts overlap at most [mm]."""
    env = make_task(task, scenario="far", observation="state")
    expert, inserted, overlap = expert_of(task, env), 0, 0.0
    for seed in range(trials):
        observation, info = env.reset(seed=seed)
        expert.reset(seed)
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(expert(observation, info))
            contacts = env.get_wrapper_attr("bench").data.contact  # MuJoCo's: negative distances are overlaps
            overlap = max([overlap, *(-contact.dist for contact in contacts)])
            ended = terminated or truncated
        inserted += info["is_success"]
    env.close()
    return inserted, 1e3 * overlap


def enters_from_beside(task: str, beside_mm: float = 3.0) -> bool:
    """Whether the plug goes in when it is pressed straight down beside its socket, on any of eight sides."""
    env = make_task(task, observation="state", estimate_seed=0)
    entered = False
    for angle in np.arange(8) * np.pi / 4:
        offset = 1e-3 * beside_mm * np.array([np.cos(angle), np.sin(angle)])
        env.reset(seed=0, options={"offset": offset, "height": 5e-3})
        for _ in range(12):
            entered |= env.step(np.array([0.0, 0.0, -1.0]))[4]["is_success"]
    env.close()
    return entered


def main() -> None:
    """Check and draw the part."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=FILE, help="connector file")
    parser.add_argument("--trials", type=int, default=20, help="insertions by the expert")
    parser.add_argument("--out", type=Path, default=Path("my_plug.png"), help="picture to write")
    asked = parser.parse_args()
    part, task = find_connector(str(asked.file)), f"insertion/{asked.file}"
    inserted, overlap = expert_inserts(task, asked.trials)
    print(f"{part.name}: the expert inserts {inserted} of {asked.trials} (19 of 20 are asked of the catalogue)")
    print(f"deepest overlap of two bodies {overlap:.2f} mm (less than 0.2)")
    print(f"goes in from 3 mm beside: {'yes, so it is no task' if enters_from_beside(task) else 'no'}")
    contact_sheet([part], cell=360, columns=1).save(asked.out)
    print(f"picture: {asked.out}")


if __name__ == "__main__":
    main()
