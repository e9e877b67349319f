"""Residual reinforcement learning (Johannink et al. 2019; chapter 5 of Nair's thesis): correct a controller."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lotj.experiments.chapter import Arm, Chapter, Problem
from lotj.experiments.chapter_jobs import LINES
from lotj.experiments.claims import Claim, contrary, end_over, faster, higher, lived_through, lower, sooner

TD3: dict[str, Any] = {"discount": 0.98, "ema": 0.01}
RANGE = 0.5
"""Share of an action that the residual has."""
BIAS = 0.2
VARIED = {
    "straight": "yaw=0.0",
    "yaw": "yaw=0.3",
    "noise": "yaw=0.0,noise=0.1",
    "bias": f"yaw=0.0,bias={BIAS}",
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
SIMULATED_ALONE = "RL alone, in the first simulation"


def _other(of: Problem) -> Problem:
    """The same in another simulation, which stands for reality: learnt there alone, or there what is left to correct of
    a policy that was learnt in the first one, or further from that policy itself."""
    there = [replace(arm, options=",".join(filter(None, ("other=True", arm.options)))) for arm in of.arms]
    before = (replace(of.arms[0], title=SIMULATED), replace(of.arms[1], title=SIMULATED_ALONE))
    corrected = replace(there[0], title="residual of the simulated policy", corrects=SIMULATED)
    further = replace(there[1], title="RL alone from the simulated policy", begins=SIMULATED_ALONE)
    arms = (*there, *before, corrected, further)
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
        *(
            Claim(f"{name}: residual learns faster, 1.5 times", faster(name, "residual", "RL alone", 1.5))
            for name in VARIED
        ),
        Claim(
            "bias: the residual takes it back, within a quarter",
            lived_through("bias", "residual", "action", -1.25 * BIAS / RANGE, -0.75 * BIAS / RANGE),
        ),
        *(
            Claim(f"{name}: it costs the hand-made controller 10 points", lower("straight", name, "hand-made", 10))
            for name in ("yaw", "noise", "bias")
        ),
        *(
            Claim(
                f"{name}: it costs the residual less than 10 points", contrary(lower("straight", name, "residual", 10))
            )
            for name in ("yaw", "noise", "bias")
        ),
        Claim(
            "another simulation: correcting a simulated policy is learnt sooner than correcting the hand-made one",
            sooner("other-simulation", "residual of the simulated policy", "residual", 50, 2.0),
        ),
        Claim(
            "another simulation: the correction ends above the simulated policy as it is",
            end_over("other-simulation", "residual of the simulated policy", 0),
        ),
        Claim(
            "another simulation: RL alone learns sooner from the simulated policy",
            sooner("other-simulation", "RL alone from the simulated policy", "RL alone", 50, 2.0),
        ),
    ),
    all_points=True,
)
