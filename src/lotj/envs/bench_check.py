"""What a connector must do on the bench to be a task: the expert inserts it, and straight down beside it never enters.

The contract tests hold the catalogue against it, ``lotj connectors check`` a file of one's own.
"""

from __future__ import annotations

import numpy as np

from lotj.controllers.expert import Expert
from lotj.envs.insertion import draw_start
from lotj.sim.arm import ARMS
from lotj.sim.bench import STEP_LIMIT, Bench
from lotj.sim.connector import Connector
from lotj.sim.randomization import draw_randomization

EPISODES, INSERTED = 20, 19
OVERLAP = 0.2e-3
"""Deepest penetration of any contact that counts as none [m]."""
BESIDE = 3e-3  # [m]


def penetration(bench: Bench) -> float:
    """Deepest overlap of any contact [m]."""
    return float(max((-c.dist for c in bench.data.contact[: bench.data.ncon]), default=0.0))


def insert(bench: Bench, seed: int) -> tuple[bool, bool, float]:
    """One episode of the expert from `far`: (whether it starts free of contact, success, deepest penetration [m])."""
    expert = Expert(np.random.default_rng(0), STEP_LIMIT, bench.contact_height, noise=0.0)
    expert.reset(seed)
    offset, height, error = draw_start(np.random.default_rng(seed), "far")
    reading = bench.reset(offset, height, error=error)
    free, deepest = bench.data.ncon == 0, 0.0
    for _ in range(20):
        action = expert(None, {"position": reading.position})
        reading = bench.move(action * STEP_LIMIT)
        deepest = max(deepest, penetration(bench))
        if reading.success or reading.dislodged:
            break
    return free, reading.success, deepest


def press_beside(bench: Bench, angle: float) -> tuple[bool, float]:
    """Straight down 3 mm beside the socket's axis, at last with all force: (success, deepest penetration [m])."""
    reading = bench.reset(BESIDE * np.array([np.cos(angle), np.sin(angle)]), 5e-3)
    success, deepest = reading.success, 0.0
    for _ in range(12):
        reading = bench.move(np.array([0.0, 0.0, -STEP_LIMIT]))
        success, deepest = success or reading.success, max(deepest, penetration(bench))
    return success, deepest


def faults(connector: Connector) -> list[str]:
    """One line for each thing that a connector does not do on the bench; none if it is a task."""
    bench = Bench(connector, ARMS["duo"], draw_randomization(connector, seed=3), image_size=64)
    inserted = [insert(bench, seed) for seed in range(EPISODES)]
    beside = [press_beside(bench, angle) for angle in np.arange(8) * np.pi / 4]
    found, successes = [], sum(success for _, success, _ in inserted)
    if successes < INSERTED:
        found.append(
            f"the scripted expert, which knows where the socket is, inserts it in {successes} of {EPISODES} episodes; "
            f"gaps, chamfers and lead-ins take it in from {1e3 * connector.capture_range:.2f} mm beside (0.5 are usual)"
        )
    if any(success for success, _ in beside):
        found.append("straight down 3 mm beside the socket it goes in: chamfers and lead-ins are wide, or the gap")
    deepest = max(depth for *_, depth in (*inserted, *beside))
    if deepest >= OVERLAP or not all(free for free, *_ in inserted):
        found.append(f"plug and socket overlap by up to {1e3 * deepest:.2f} mm: 0.2 mm are usual")
    return found
