"""Industrial insertion with images and natural rewards (Schoettler et al. 2019; chapter 6 of Nair's thesis)."""

from __future__ import annotations

from typing import Any

from lotj.experiments.chapter import Arm, Chapter, Problem
from lotj.experiments.chapter_jobs import LINES
from lotj.experiments.claims import Claim, hacked, higher, level, lived_through

PARTS = ("usb-a", "d-sub-de-9", "seven-eighths-5")
"""The last stands for Model-E, a waterproof connector of the maker MISUMI."""

ERROR = 1.5
"""The goal is off by up to so much [mm] along each axis: where going straight to it fails half of the time."""

SETTINGS: dict[str, Any] = {"discount": 0.98, "ema": 0.02}
RANGE = 0.3
"""Share of an action that the residual has."""
REWARDS = {"dense": "state", "sparse": "state", "image": "image+state"}
"""Reward -> what is observed; from images the agent sees nothing else, the controller its own position."""
OFF = (0.0, 2.0)
"""How far goals may be off [mm] where policies are tried that have practised with `ERROR`."""
DEMONSTRATED: dict[str, Any] = {**SETTINGS, "bc_weight": 1.0, "normalize_q": True}
"""Of RL that clones demonstrations besides: TD3, as in the thesis."""


def _paid(reward: str) -> str:
    """Options of a task with that reward."""
    return f"reward={reward},observation={REWARDS[reward]}"


def _off(error: float) -> tuple[Arm, ...]:
    """Who is tried with goals that are off by so much."""
    options = f"goal_error={error}"
    titles = {reward: f"residual {reward}, SAC" for reward in REWARDS}
    again = [
        Arm(f"{title}, {error:g} mm", "", options=f"{_paid(reward)},residual={RANGE},{options}", again=title)
        for reward, title in titles.items()
    ]
    return (*again, Arm(f"P-controller, {error:g} mm", "expert", options=options))


def _arms() -> tuple[Arm, ...]:
    alone: dict[str, Any] = {"data": "", "share": 0.0}
    made = []
    for reward in REWARDS:
        options = _paid(reward)
        for agent in ("sac", "td3"):
            name = f"{reward}, {agent.upper()}"
            made.append(Arm(f"RL {name}", agent, SETTINGS, options=options, **alone))
            made.append(Arm(f"residual {name}", agent, SETTINGS, options=f"{options},residual={RANGE}", **alone))
        if reward != "dense":  # as in the thesis' table
            shown = {"data": f"demos-{reward}", "updates": 0.0, "share": 0.2, "options": options}
            made.append(Arm(f"RL + demonstrations {reward}, TD3", "td3", DEMONSTRATED, **shown))
    made += [arm for error in OFF for arm in _off(error)]
    made.append(Arm("RL image, SAC, looked at", "", options=_paid("image"), again="RL image, SAC"))
    made.append(Arm("P-controller, paid by image", "expert", options=_paid("image")))
    return (*made, *(Arm({"expert": "P-controller"}.get(line, line), line) for line in LINES))


def _problem(part: str) -> Problem:
    practice = {"updates_per_step": 1, "warmup_trials": 5, "exploration_noise": 0.2, "batch_size": 128}
    task = f"force-insertion/{part},goal_error={ERROR},end_on_success=False"
    demos = {
        f"demos-{reward}": {"count": 20, "recipe": "human", "options": _paid(reward)} for reward in ("sparse", "image")
    }
    return Problem(part, task, demos, _arms(), 0, 160, (0.25, 0.5, 0.75), practice)


CHAPTER = Chapter(
    name="natural-rewards",
    title="Insertion with images and natural rewards",
    problems=tuple(_problem(part) for part in PARTS),
    claims=tuple(
        claim
        for part in PARTS
        for claim in (
            *(
                Claim(f"{part}: {words}", higher(part, better, worse, least))
                for words, better, worse, least in (
                    ("the residual learns from images, RL alone does not", "residual image, SAC", "RL image, SAC", 20),
                    ("the residual is more robust than its controller", "residual dense, SAC", "P-controller", 10),
                    ("SAC is more robust than TD3", "residual sparse, SAC", "residual sparse, TD3", 10),
                    ("a sparse reward serves RL better than a dense one", "RL sparse, SAC", "RL dense, SAC", 10),
                    ("demonstrations help RL", "RL + demonstrations sparse, TD3", "RL sparse, TD3", 10),
                    ("but fall behind the residual", "residual sparse, SAC", "RL + demonstrations sparse, TD3", 10),
                    ("2 mm of error break the controller", "P-controller, 0 mm", "P-controller, 2 mm", 30),
                    ("and the residual less", "residual dense, SAC, 2 mm", "P-controller, 2 mm", 10),
                )
            ),
            Claim(
                f"{part}: natural rewards serve a residual as well as a dense one",
                level(part, [f"residual {reward}, SAC" for reward in REWARDS], 15),
            ),
            Claim(
                f"{part}: RL alone hacks the reward of images, in a tenth of the episodes",
                hacked(part, "RL image, SAC, looked at", "P-controller, paid by image"),
            ),
            Claim(
                f"{part}: actions of TD3 saturate, half of them beyond 0.95",
                lived_through(part, "residual sparse, TD3", "saturated", 0.5, 1.0),
            ),
        )
    ),
)
