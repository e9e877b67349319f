"""Industrial insertion with images and natural rewards (Schoettler et al. 2019; chapter 6 of Nair's thesis)."""

from __future__ import annotations

from typing import Any

from lotj.experiments.chapter import LINES, Arm, Chapter, Problem
from lotj.experiments.claims import Claim, higher

PARTS = ("usb-a", "d-sub-de-9", "seven-eighths-5")
"""The last stands for Model-E, a waterproof connector of the maker MISUMI."""

ERROR = 1.5
"""The goal is off by up to so much [mm] along each axis: where going straight to it fails half of the time."""

SETTINGS: dict[str, Any] = {"discount": 0.98, "ema": 0.02}
RANGE = 0.3
"""Share of an action that the residual has."""
REWARDS = {"dense": "state", "sparse": "state", "image": "image+state"}
"""Reward -> what is observed; from images the agent sees nothing else, the controller its own position."""


def _arms() -> tuple[Arm, ...]:
    alone: dict[str, Any] = {"data": "", "share": 0.0}
    made = []
    for reward, seen in REWARDS.items():
        options = f"reward={reward},observation={seen}"
        for agent in ("sac", "td3"):
            name = f"{reward}, {agent.upper()}"
            made.append(Arm(f"RL {name}", agent, SETTINGS, options=options, **alone))
            made.append(Arm(f"residual {name}", agent, SETTINGS, options=f"{options},residual={RANGE}", **alone))
    return (*made, *(Arm({"expert": "P-controller"}.get(line, line), line) for line in LINES))


def _problem(part: str) -> Problem:
    practice = {"updates_per_step": 1, "warmup_trials": 5, "exploration_noise": 0.2, "batch_size": 128}
    task = f"force-insertion/{part},goal_error={ERROR},end_on_success=False"
    return Problem(part, task, {}, _arms(), 0, 160, (0.25, 0.5, 0.75), practice)


CHAPTER = Chapter(
    name="natural-rewards",
    title="Insertion with images and natural rewards",
    problems=tuple(_problem(part) for part in PARTS),
    claims=tuple(
        Claim(f"{part}: {words}", higher(part, better, worse, least))
        for part in PARTS
        for words, better, worse, least in (
            ("the residual learns from images where RL alone does not", "residual image, SAC", "RL image, SAC", 20),
            ("the residual is more robust than its controller", "residual dense, SAC", "P-controller", 10),
            ("SAC is more robust than TD3", "residual sparse, SAC", "residual sparse, TD3", 10),
        )
    ),
)
