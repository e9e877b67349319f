"""Visuomotor affordance learning (Khazatsky et al. 2021; chapter 9 of Nair's thesis): which outcomes are possible and
wanted in a scene never seen, said by prior data; then practice on them. Everything but who proposes is the same."""

from __future__ import annotations

from lotj.data.goal_replay import GoalShares
from lotj.experiments.chapter import Problem
from lotj.experiments.claims import Claim, gate, paired
from lotj.experiments.goal_chapter import EVERY_LINE, GoalArm, GoalChapter

GAMMA = 0.99

_ARMS = (
    GoalArm("VAL", "awac", goals="pixelcnn"),
    GoalArm("CC-VAE's goals", "awac", goals="cc-vae"),
    GoalArm("VAE's goals", "awac", goals="vae"),
    GoalArm("seen goals", "awac", goals="seen"),
    GoalArm("the task's goal", "awac", goals="task"),
    *EVERY_LINE,
)


def _problem(task: str) -> Problem:
    """One scene, whose shapes no prior episode shows, in 24 layouts."""
    # VAL has one buffer: after its 50,000 steps of practice a tenth of that is practised, 400,000 steps are prior data
    practice = {"online_fraction": 0.1, "updates_per_step": 0.5, "imitate": "all", "warmup_trials": 3}
    practice["exploration_noise"] = 0.0  # the policy's own spread explores
    name = f"table/{task},scene=0,max_steps=65"
    return Problem(task, name, {}, _ARMS, trials=50, points=(0.2, 0.5), practice=practice)


_PROBLEMS = tuple(map(_problem, ("open-drawer", "close-drawer", "pick-place", "slide", "button")))
_SCENES = tuple(problem.name for problem in _PROBLEMS)

CHAPTER = GoalChapter(
    name="val",
    title="Visuomotor affordance learning",
    problems=_PROBLEMS,
    claims=(
        Claim("V1: practice on proposed goals gains", paired(_SCENES, ("VAL", -1), ("VAL", 0))),
        *(
            Claim(f"V2: and more than on {title}", paired(_SCENES, ("VAL", -1), (title, -1)))
            for title in ("CC-VAE's goals", "VAE's goals", "seen goals")
        ),
        Claim("V2: the task's own goal is no worse", paired(_SCENES, ("the task's goal", -1), ("VAL", -1), -10.0)),
        Claim("V3: proposals change something", gate("gates", "codes", ("proposals", "changed"), 0.5)),
        Claim("V3: proposals are codes of pictures", gate("gates", "codes", ("proposals", "consistent"), 0.8)),
        Claim("V3: a judge finds half of them outcomes", gate("gates", "codes", ("valid", "pixelcnn"), 0.5)),
        *(
            Claim(f"V3: a tenth more than what a {name} draws", gate("gates", "codes", ("valid", f"over_{name}"), 0.1))
            for name in ("cc-vae", "vae")
        ),
        Claim(
            "V4: codes rebuild unseen things: half of what changes",
            gate("gates", "codes", ("reconstruction", "changing"), most=0.5),
        ),
        Claim("V4: and better than a VAE", gate("gates", "codes", ("reconstruction", "of_vae"), most=0.999)),
        Claim("V6: ten trials gain 20 points", paired(_SCENES, ("VAL", 1), ("VAL", 0), 20.0)),
    ),
    models=("pixelcnn", "vae", "cc-vae"),
    model_updates={"vq": 4_000, "pixelcnn": 1_500, "vae": 4_000, "cc-vae": 4_000},
    agents={
        "awac": {
            "lr": 3e-4, "discount": GAMMA, "ema": 0.005, "advantage_scale": 0.3,  # 1 / 0.3 follows Q's error
            "target_bounds": (-1.0 / (1.0 - GAMMA), 0.0), "hidden": (256, 256, 256, 256),
        }
    },
    updates=12_000,
    offline=GoalShares(0.2, 0.0, 0.4, 0.4),
    online=GoalShares(0.2, 0.0, 0.4, 0.4),
)  # fmt: skip
