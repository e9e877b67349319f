"""Advantage-weighted actor-critic (Nair et al. 2020; chapter 7 of his thesis): offline data, then a little practice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from lotj.agents import find_agent
from lotj.envs.registry import find_task
from lotj.experiments.chapter import AFTER_PRETRAINING, Arm, Chapter, Problem
from lotj.experiments.chapter_jobs import LINES
from lotj.experiments.claims import Claim, at_least, contrary, end_over, falls, higher

RLPD = {
    "critics": 10,
    "target_critics": 2,
    "initial_temperature": 1.0,
    "entropy_per_axis": -0.5,
    "entropy_backup": False,
}
DEMOS = "demonstrations"
"""Name of the prior data that the cloned policy comes from; it then records what the others learn from."""


ROBOTS = ("BC", "AWAC", "SAC, data in the replay", "SAC + BC")
"""Those that the paper compares on its real robots."""


def _arms(scale: float, **common: Any) -> tuple[Arm, ...]:
    """All ways, AWAC with that `advantage_scale`, each with those `common` settings that its agent has."""
    awac: dict[str, Any] = {"advantage_scale": scale}
    arms = (
        Arm("cloned", "bc", data=DEMOS, trials=0.0),
        Arm("BC", "bc", trials=0.0),
        Arm("AWAC", "awac", awac),
        Arm("SAC, data in the replay", "sac", updates=0.0),
        Arm("SAC + BC", "sac", {"bc_weight": 1.0}),
        Arm("AWAC, printed weights", "awac", {**awac, "weights": "paper"}),
        Arm("AWAC with Z(s)", "awac", {**awac, "weights": "state"}),
        Arm("SAC", "sac", data="", share=0.0),
        Arm("SAC pretrained", "sac"),
        Arm("AWR", "awr"),
        Arm("BRAC", "brac"),
        Arm("RLPD", "sac", RLPD, updates=0.0, share=0.5),
        Arm("ReBRAC", "rebrac"),
    )
    known = {arm.agent: {field.name for field in fields(find_agent(arm.agent).CONFIG)} for arm in arms}
    shared = {agent: {name: common[name] for name in common if name in names} for agent, names in known.items()}
    learnt = {arm.title for arm in arms if arm.data and arm.updates and arm.trials}
    return tuple(
        replace(
            arm,
            settings={**shared[arm.agent], **arm.settings},
            online=AFTER_PRETRAINING if arm.title in learnt else {},
        )
        for arm in arms
    )


def _problem(name: str, task: str, demos: int, arms: Sequence[Arm], lines: Sequence[str] = tuple(LINES)) -> Problem:
    """Few demonstrations by a person, and 500 episodes of the policy cloned from them, failures and all."""
    human = {"count": demos, "recipe": "human"}
    data = {DEMOS: human, "data": {"count": 500, "recipe": "policy", "policy": "cloned", "demonstrations": demos}}
    arms = (*arms, *(Arm(line, line) for line in lines))
    practice = {"updates_per_step": 1, "warmup_trials": 1, "exploration_noise": 0.1}
    return Problem(name, task, data, arms, 5_000, 100, practice=practice)


EXPERT = "SAC for long"
"""Arm of the half-cheetah that then demonstrates."""


def _cheetah() -> Problem:
    """15 demonstrations of our own expert, which had twelve times the trials, and 100 episodes of the policy cloned
    from them (the paper's numbers). Episodes of 200 steps instead of 1,000: the cheetah runs after ten."""
    common = {"discount": 0.99, "ema": 0.005}
    kept = (*ROBOTS, "cloned", "SAC", "SAC pretrained", "AWR", "BRAC", "RLPD")
    arms = [arm for arm in _arms(0.5, **common) if arm.title in kept]
    expert = Arm(EXPERT, "sac", common, data="", share=0.0, trials=12.0)
    cloned = {"count": 100, "recipe": "policy", "policy": "cloned", "demonstrator": EXPERT, "demonstrations": 15}
    data = {DEMOS: {"count": 15, "recipe": "policy", "policy": EXPERT}, "data": cloned}
    made = _problem("half-cheetah", "locomotion/half-cheetah,max_steps=200", 15, (expert, *arms), ("random", "nothing"))
    return replace(made, data=data, trials=50, full=EXPERT)


def _adroit(task: str) -> Problem:
    """Few demonstrations by a person whose joints tremble, for from 25 cloning alone opens the door."""
    arms = [arm for arm in _arms(20.0, discount=0.99) if arm.title in (*ROBOTS, "cloned")]
    return _problem(f"adroit-{task}", f"adroit/{task}", 8, arms)


_PROBLEMS = (
    _problem("insertion", "force-insertion/usb-a,start=far,goal_error=3.5", 25, _arms(20.0)),
    _problem("drawer", "drawer/open", 10, [arm for arm in _arms(20.0) if arm.title in (*ROBOTS, "cloned")]),
    _cheetah(),
    *([_adroit("door")] if find_task("adroit/door")[0].expert else ()),  # experts are not everywhere
)

CHAPTER = Chapter(
    name="awac",
    title="Advantage-weighted actor-critic",
    problems=_PROBLEMS,
    claims=(
        *(
            claim
            for name in (problem.name for problem in _PROBLEMS)
            for claim in (
                Claim(f"{name}: offline, AWAC is no worse than BC", contrary(higher(name, "BC", "AWAC", 10, at=0))),
                Claim(f"{name}: AWAC does not dip when practice begins", at_least(name, "AWAC", -15)),
                Claim(f"{name}: AWAC ends higher than it begins", end_over(name, "AWAC", 0)),
                Claim(f"{name}: AWAC ends above SAC + BC", higher(name, "AWAC", "SAC + BC", 10)),
                Claim(
                    f"{name}: AWAC ends above SAC with the data", higher(name, "AWAC", "SAC, data in the replay", 10)
                ),
            )
        ),
        *(
            claim
            for name in ("insertion", "half-cheetah")
            for claim in (
                Claim(
                    f"{name}: SAC gains nothing from data in its replay",
                    contrary(higher(name, "SAC, data in the replay", "SAC", 10)),
                ),
                Claim(f"{name}: pretrained SAC dips", contrary(at_least(name, "SAC pretrained", -15))),
                Claim(f"{name}: AWAC ends above an explicit behaviour model", higher(name, "AWAC", "BRAC", 10)),
                Claim(
                    f"{name}: the likelihood of a fitted behaviour model falls in practice, by 1 nat",
                    falls(name, "BRAC", "likelihood", 1.0),
                ),
                Claim(f"{name}: AWAC ends above Monte-Carlo advantages", higher(name, "AWAC", "AWR", 10)),
                Claim(f"{name}: AWAC ends above RLPD (ours, of no paper)", higher(name, "AWAC", "RLPD", 10)),
            )
        ),
        Claim("insertion: Z(s) hurts", higher("insertion", "AWAC", "AWAC with Z(s)", 5)),
    ),
)
