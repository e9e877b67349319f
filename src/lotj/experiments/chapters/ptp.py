"""Planning to practise (Fang et al. 2022; chapter 10 of Nair's thesis): subgoals that chain skills no prior trajectory
chains. Everything but the plan is the same for all."""

from __future__ import annotations

from dataclasses import replace

from lotj.data.goal_replay import GoalShares
from lotj.experiments.chapter import Problem
from lotj.experiments.claims import Claim, met_rate, paired
from lotj.experiments.goal_chapter import EVERY_LINE, GoalArm, GoalChapter

GAMMA = 0.995
_BOTH = {
    "lr": 3e-4, "discount": GAMMA, "ema": 0.005, "weight_clip": 100.0, "target_bounds": (-1.0 / (1.0 - GAMMA), 0.0),
    "hidden": (256, 256, 256, 256), "initial_std": 0.15, "std_range": (0.135, 0.37),
}  # fmt: skip

_PLAIN = (GoalArm("PTP", "iql", plan="hierarchical-buffer"), GoalArm("model-free", "iql"), *EVERY_LINE)
_NO_BUFFER = GoalArm("PTP, no buffer", "iql", plan="hierarchical")
_ABLATED = (
    _NO_BUFFER,
    GoalArm("PTP, flat", "iql", plan="flat-buffer"),
    GoalArm("PTP, flat, no buffer", "iql", plan="flat"),
)
_OTHERS = (
    GoalArm("HIQL", "hiql"),
    GoalArm("LEAP", "iql", plan="unconditional"),
    GoalArm("GCP", "iql", plan="midpoint"),
    GoalArm("PTP, no value", "iql", plan="hierarchical", planning={"value_weight": 0.0}, trials=0.0),
)
"""What they reach on tasks of two skills; the ablations practise on the first of these alone."""


def _problem(name: str, steps: int, *more: GoalArm) -> Problem:
    """One scene in 24 layouts, where the paper has one layout, which could be learnt by heart."""
    practice = {"online_fraction": 0.6, "updates_per_step": 0.5, "imitate": "all", "warmup_trials": 1}
    practice["exploration_noise"] = 0.0  # the policy's own spread explores
    task = f"table/{name},scene=0,max_steps={steps}"
    return Problem(name, task, {}, (*_PLAIN, *more), trials=20, points=(), practice=practice)


_PROBLEMS = (
    _problem("slide-then-open", 150, *_ABLATED, *_OTHERS),
    _problem("close-then-slide", 150, replace(_NO_BUFFER, trials=0.0), *_OTHERS),
    _problem("out-then-close", 150, replace(_NO_BUFFER, trials=0.0), *_OTHERS),
    _problem("slide-open-in", 225),
)
_TASKS = tuple(problem.name for problem in _PROBLEMS)
_FIRST, _TWO, _THREE = _TASKS[:1], _TASKS[:3], _TASKS[3:]

CHAPTER = GoalChapter(
    name="ptp",
    title="Planning to practise",
    problems=_PROBLEMS,
    claims=(
        Claim("P1: before practice, subgoals raise success", paired(_TWO, ("PTP", 0), ("model-free", 0))),
        Claim("P2: practice with subgoals gains", paired(_TWO, ("PTP", -1), ("PTP", 0))),
        Claim("P2: and more than practice without", paired(_TWO, ("PTP", -1), ("model-free", -1))),
        Claim("P3: conditional subgoals beat unconditional ones", paired(_TWO, ("PTP", -1), ("LEAP", -1))),
        Claim("P3: and midpoints", paired(_TWO, ("PTP", -1), ("GCP", -1))),
        Claim("P4: hierarchy helps", paired(_FIRST, ("PTP", -1), ("PTP, flat", -1))),
        Claim("P4: the buffer helps flat plans", paired(_FIRST, ("PTP, flat", -1), ("PTP, flat, no buffer", -1))),
        Claim("P5: value keeps steps feasible", paired(_TWO, ("PTP, no buffer", 0), ("PTP, no value", 0), 0, met_rate)),
        Claim("today: HIQL raises success before practice", paired(_TWO, ("HIQL", 0), ("model-free", 0))),
        Claim("today: and ends above planned subgoals", paired(_TWO, ("HIQL", -1), ("PTP", -1))),
        Claim("P6: three skills are chained", paired(_THREE, ("PTP", -1), ("random", -1))),
    ),
    task="table/primitives",
    recipe="primitives",
    held_out="table/primitives,split=test",
    models=("gap60", "gap30", "gap15", "unconditional", "midpoint"),
    model_updates={"vq": 4_000, "subgoals": 2_500},
    agents={
        "iql": {
            **_BOTH, "expectile": 0.9, "advantage_scale": 100.0, "q_gradient_weight": 0.0,
            "shared_critic_encoder": False,  # V is asked by plans, and does not see the robot's own pose
        },
        "hiql": {**_BOTH, "waypoint_steps": 15},
    },
    updates=10_000,
    offline=GoalShares(0.0, 0.1, 0.9, 0.0),
    online=GoalShares(0.3, 0.1, 0.6, 0.0),
)  # fmt: skip
