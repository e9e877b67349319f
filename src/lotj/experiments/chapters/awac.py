"""Advantage-weighted actor-critic (Nair et al. 2020; chapter 7 of his thesis): offline data, then a little practice."""

from __future__ import annotations

from typing import Any

from lotj.experiments.chapter import LINES, Arm, Chapter, Problem
from lotj.experiments.claims import Claim, at_least, end_over, higher

RLPD = {
    "critics": 10,
    "target_critics": 2,
    "initial_temperature": 1.0,
    "entropy_per_axis": -0.5,
    "entropy_backup": False,
}
DEMOS = "demonstrations"
"""Name of the prior data that the cloned policy comes from; it then records what the others learn from."""


def _arms(awac: dict[str, Any], most: bool) -> tuple[Arm, ...]:
    """All ways, or those of the paper's real robots alone."""
    fewer = (
        Arm("BC", "bc", practises=False),
        Arm("AWAC", "awac", awac),
        Arm("SAC, data in the replay", "sac", updates=0.0),
        Arm("SAC + BC", "sac", {"bc_weight": 1.0}),
    )
    more = (
        Arm("AWAC, printed weights", "awac", {**awac, "weights": "paper"}),
        Arm("AWAC with Z(s)", "awac", {**awac, "weights": "state"}),
        Arm("SAC", "sac", data="", share=0.0),
        Arm("SAC pretrained", "sac"),
        Arm("AWR", "awr"),
        Arm("BRAC", "brac"),
        Arm("RLPD", "sac", RLPD, updates=0.0),
        Arm("ReBRAC", "rebrac"),
    )
    return (Arm("cloned", "bc", data=DEMOS, practises=False), *fewer, *(more if most else ()))


def _problem(name: str, task: str, demos: int, trials: int, most: bool, scale: float, **practice: Any) -> Problem:
    """Few demonstrations by a person, and 500 episodes of the policy cloned from them, failures and all."""
    human = {"count": demos, "recipe": "human"}
    data = {DEMOS: human, "data": {"count": 500, "recipe": "policy", "policy": "cloned", "demonstrations": demos}}
    arms = (*_arms({"advantage_scale": scale}, most), *(Arm(line, line) for line in LINES))
    practice = {"updates_per_step": 1, "warmup_trials": 1, "exploration_noise": 0.1, **practice}
    return Problem(name, task, data, arms, 10_000, trials, practice=practice)


_PROBLEMS = (
    _problem("insertion", "force-insertion/usb-a,start=far,goal_error=1", 25, 200, True, 20.0),
    _problem("drawer", "drawer/open", 10, 200, False, 20.0),
)

CHAPTER = Chapter(
    name="awac",
    title="Advantage-weighted actor-critic: from prior data to practice",
    problems=_PROBLEMS,
    claims=(
        *(
            claim
            for name in ("insertion", "drawer")
            for claim in (
                Claim(f"{name}: AWAC does not dip when practice begins", at_least(name, "AWAC", -15)),
                Claim(f"{name}: AWAC ends higher than it begins", end_over(name, "AWAC", 0)),
                Claim(f"{name}: AWAC ends above SAC + BC", higher(name, "AWAC", "SAC + BC", 10)),
                Claim(
                    f"{name}: AWAC ends above SAC with the data", higher(name, "AWAC", "SAC, data in the replay", 10)
                ),
            )
        ),
        Claim(
            "insertion: SAC gains from data in its replay", higher("insertion", "SAC, data in the replay", "SAC", 10)
        ),
        Claim("insertion: pretrained SAC does not dip", at_least("insertion", "SAC pretrained", -15)),
        Claim("insertion: AWAC ends above an explicit behaviour model", higher("insertion", "AWAC", "BRAC", 10)),
        Claim("insertion: AWAC ends above Monte-Carlo advantages", higher("insertion", "AWAC", "AWR", 10)),
        Claim("insertion: Z(s) hurts", higher("insertion", "AWAC", "AWAC with Z(s)", 5)),
        Claim("insertion: AWAC ends above RLPD", higher("insertion", "AWAC", "RLPD", 10)),
    ),
)
