"""Residual reinforcement learning (Johannink et al. 2019; chapter 5 of Nair's thesis): correct a controller."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lotj.experiments.chapter import LINES, Arm, Chapter, Problem
from lotj.experiments.claims import Claim, end_over, higher, sooner

TD3: dict[str, Any] = {"discount": 0.98, "ema": 0.01}
RANGE = 0.5
"""Share of an action that the residual has."""
VARIED = {
    "straight": "yaw=0.0",
    "yaw": "yaw=0.3",
    "noise": "yaw=0.0,noise=0.1",
    "bias": "yaw=0.0,bias=0.2",
}
"""Name of the problem -> what is wrong with the scene."""


def _problem(name: str, options: str) -> Problem:
    alone: dict[str, Any] = {"data": "", "share": 0.0}
    arms = (
        Arm("residual", "td3", TD3, options=f"residual={RANGE}", **alone),
        Arm("RL alone", "td3", TD3, **alone),
        *(Arm({"expert": "hand-made"}.get(line, line), line) for line in LINES),
        Arm("hand-made, from the side", "side-entry"),
    )
    practice = {"updates_per_step": 1, "warmup_trials": 20, "exploration_noise": 0.2}
    return Problem(name, f"blocks/assembly,reward=dense,{options}", {}, arms, 0, 800, practice=practice)


SIMULATED = "residual, in the first simulation"


def _other(of: Problem) -> Problem:
    """The same in another simulation, which stands for reality: learnt there alone, or there what is left to correct of
    a policy that was learnt in the first one."""
    there = [replace(arm, options=",".join(filter(None, ("other=True", arm.options)))) for arm in of.arms]
    before = replace(of.arms[0], title=SIMULATED)
    arms = (*there, before, replace(there[0], title="residual of the simulated policy", corrects=SIMULATED))
    return replace(of, name="other-simulation", arms=arms, trials=400)


_PROBLEMS = {name: _problem(name, options) for name, options in VARIED.items()}

CHAPTER = Chapter(
    name="residual",
    title="Residual reinforcement learning",
    problems=(*_PROBLEMS.values(), _other(_PROBLEMS["yaw"])),
    claims=(
        *(Claim(f"{name}: residual ends above RL alone", higher(name, "residual", "RL alone", 10)) for name in VARIED),
        *(
            Claim(f"{name}: residual ends above its own controller", higher(name, "residual", "hand-made", 10))
            for name in ("yaw", "bias")
        ),
        Claim(
            "another simulation: correcting a simulated policy is learnt sooner than correcting the hand-made one",
            sooner("other-simulation", "residual of the simulated policy", "residual", 50, 2.0),
        ),
        Claim(
            "another simulation: the correction ends above the simulated policy as it is",
            end_over("other-simulation", "residual of the simulated policy", 0),
        ),
    ),
    all_points=True,
)
