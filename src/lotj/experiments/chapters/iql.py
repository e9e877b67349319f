"""Implicit Q-learning (Kostrikov et al. 2021; chapter 8 of Nair's thesis): stitching, and fine-tuning after it."""

from __future__ import annotations

from lotj.experiments.chapter import Arm, Chapter, Problem

CHAPTER = Chapter(
    "iql",
    "Implicit Q-learning",
    (
        Problem(
            "reach",
            "fetch/reach",
            {"data": {"count": 20}},
            (Arm("TD3", "td3", data=""), Arm("IQL", "iql"), Arm("random", "random"), Arm("expert", "expert")),
            updates=200,
            trials=40,
        ),
    ),
    (),
)
