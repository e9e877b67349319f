"""Overcoming exploration with demonstrations (Nair et al. 2018; chapter 4 of his thesis)."""

from __future__ import annotations

from typing import Any

from lotj.experiments.chapter import Arm, Chapter, Problem
from lotj.experiments.chapter_jobs import LINES
from lotj.experiments.claims import Claim, at_least, contrary, higher, sooner

DDPG: dict[str, Any] = {"discount": 0.98, "ema": 0.05, "hidden": (256, 256, 256), "exploration": 0.1}
CLONING: dict[str, Any] = {**DDPG, "bc_weight": 1.0, "q_filter": True}
"""The weight is for rewards of 1 at the goal; the paper's -1 before it make Q 1 / (1 - discount) times larger."""
SHARE = 0.2
"""Of demonstrations in a batch: the paper's 128 beside 1,024, a little more here."""


_ONLINE: dict[str, Any] = {"updates": 0.0, "share": SHARE}
ARMS = {
    arm.title: arm
    for arm in (
        Arm("ours", "ddpg", CLONING, **_ONLINE),
        Arm("HER", "ddpg", DDPG, data="", share=0.0),
        Arm("BC", "bc", trials=0.0),
        Arm("BC, then HER", "ddpg", {**DDPG, "bc_weight": 100.0}, {"bc_weight": 0.0}, share=0.0),
        Arm("no BC loss", "ddpg", DDPG, **_ONLINE),
        Arm("no Q-filter", "ddpg", {**CLONING, "q_filter": False}, **_ONLINE),
        Arm("no HER", "ddpg", CLONING, practice={"hindsight": 0.0}, **_ONLINE),
        Arm("ours, resets", "ddpg", CLONING, practice={"demonstration_starts": 0.1}, **_ONLINE),
    )
}


def _problem(name: str, task: str, data: dict[str, Any], *arms: str) -> Problem:
    practice = {"updates_per_step": 0.4, "warmup_trials": 10, "exploration_noise": 0.1, "batch_size": 256}
    side_by_side = (*(ARMS[arm] for arm in arms or ARMS), *(Arm(line, line) for line in LINES))
    return Problem(name, task, {"data": {"count": 100, **data}}, side_by_side, 5_000, 2_000, practice=practice)


CHAPTER = Chapter(
    name="ddpg-demos",
    title="Overcoming exploration with demonstrations",
    problems=(
        _problem("push", "fetch/push", {"recipe": "human"}, "ours", "HER", "BC"),
        _problem("pick", "fetch/pick-and-place-air", {"recipe": "human"}),
        _problem("stack", "fetch/stack-2", {"recipe": "human"}, "ours", "ours, resets", "BC"),
        _problem("bad-teacher", "fetch/push", {"noise": 0.4}, "ours", "no Q-filter", "BC"),
    ),
    claims=(
        Claim("push: demonstrations make learning twice as fast", sooner("push", "ours", "HER", 50, 2.0)),
        Claim("pick: it is learnt with demonstrations, and not without", higher("pick", "ours", "HER", 50)),
        Claim("pick: the policy becomes better than its demonstrations cloned", higher("pick", "ours", "BC", 10)),
        Claim("pick: cloning, then HER, loses what was cloned", contrary(at_least("pick", "BC, then HER", -15))),
        Claim("pick: cloning, then HER, ends below ours", higher("pick", "ours", "BC, then HER", 10)),
        Claim("pick: the loss matters besides the data", higher("pick", "ours", "no BC loss", 10)),
        Claim("pick: without HER nothing is learnt", higher("pick", "ours", "no HER", 50)),
        Claim("stack: the policy becomes better than its demonstrations cloned", higher("stack", "ours", "BC", 10)),
        Claim("stack: starts from demonstrations help", higher("stack", "ours, resets", "ours", 10)),
        Claim(
            "bad teacher: the Q-filter lets the policy become better", higher("bad-teacher", "ours", "no Q-filter", 10)
        ),
    ),
)
