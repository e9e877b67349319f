"""Scripted skills of the table, as generators of actions that look anew at every step.

They read the truth, which a `sim.table.Table` tells in NumPy arrays (`look` and `aims`), since pictures alone do not
say where things are; a learner never sees what they see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

STEP, TURN = 0.05, np.radians(5.0)  # motion of an action of 1 [m, rad]
OPEN, CLOSED = 1.0, -1.0
SPREAD = 0.1  # fingers 4.4 cm apart
HIGH = 0.2  # height at which the hand crosses the table [m]
LOW = 0.032  # height at which it pushes the large object [m]
NEAR = 0.009  # it is there within this [m]
MISS = 0.035  # how far beside a deliberate miss grasps [m]

Skill = Sequence[Any]
"""Name and arguments: ("open",), ("close",), ("press",), ("shut",), ("put", place), ("slide", (x, y))."""


class Skills:
    """Plays skills one after the other, and then holds still above.

    Args:
        table: whose truth is read.
        plan: gives the skills of the episode that begins.

    Attributes:
        misses: probability that a skill is missed on purpose: grasped beside, pulled half.
    """

    misses = 0.0

    def __init__(self, table: Any, plan: Callable[[], Sequence[Skill]]) -> None:
        self.table, self._plan = table, plan

    def reset(self, seed: int) -> None:
        """Start an episode; its misses come from the seed."""
        self.rng = np.random.default_rng([seed, 5])
        self.plan = self._plan()
        self.done = 0
        self._actions = self._play()

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(5,) action in [-1, 1]."""
        return next(self._actions).astype(np.float32)

    @property
    def finished(self) -> bool:
        """All skills are played."""
        return self.done == len(self.plan)

    def _play(self) -> Iterator[np.ndarray]:
        for name, *arguments in self.plan:
            self._beside = np.zeros(3)
            self._share = 1.0
            if self.rng.random() < self.misses:
                angle = self.rng.uniform(0, 2 * np.pi)
                self._beside = MISS * np.array([np.cos(angle), np.sin(angle), 0.0])
                self._share = self.rng.uniform(0.2, 0.6)
            yield from getattr(self, f"_{name}")(*arguments)
            self.done += 1
        while True:
            yield self._towards(self._hand[:3], self._hand[3], OPEN)

    @property
    def _hand(self) -> np.ndarray:
        return self.table.look()["hand"]

    def _towards(self, to: np.ndarray, yaw: float, fingers: float) -> np.ndarray:
        hand = self._hand
        return np.clip([*(to - hand[:3]) / STEP, (yaw - hand[3]) / TURN, fingers], -1.0, 1.0)

    def _go(self, to: Any, yaw: float, fingers: float, most: int = 24, near: float = NEAR) -> Iterator[np.ndarray]:
        to = np.asarray(to, float)
        for _ in range(most):
            hand = self._hand
            if np.linalg.norm(to - hand[:3]) < near and abs(yaw - hand[3]) < 0.06:
                return
            yield self._towards(to, yaw, fingers)

    def _over(self, to: Any, yaw: float, fingers: float) -> Iterator[np.ndarray]:
        """Up, and across to above a point."""
        to = np.asarray(to, float)
        for _ in range(40):
            hand = self._hand
            away = np.linalg.norm(to[:2] - hand[:2])
            if away < NEAR and abs(yaw - hand[3]) < 0.06:
                return
            low = hand[2] < HIGH - 0.03 and away > 0.02
            yield self._towards(np.append(hand[:2] if low else to[:2], HIGH), yaw, fingers)

    def _rise(self, fingers: float) -> Iterator[np.ndarray]:
        hand = self._hand
        yield from self._go((*hand[:2], HIGH), hand[3], fingers, most=6, near=0.03)

    def _hold(self, fingers: float, steps: int) -> Iterator[np.ndarray]:
        for _ in range(steps):
            yield np.array([0.0, 0.0, 0.0, 0.0, fingers])

    def _open(self) -> Iterator[np.ndarray]:
        """Take the handle, and pull."""
        aims = self.table.aims()
        aim, ready, out = aims["handle"], aims["ready"], _out(aims["square"])
        yaw, far = aim[3], aims["travel"] * self._share
        yield from self._over(aim[:3] + self._beside, yaw, ready)
        yield from self._go(aim[:3] + self._beside, yaw, ready)
        yield from self._hold(CLOSED, 3)
        for _ in range(14):
            opening = self.table.look()["opening"]
            if opening > far - 0.006:
                break
            to = self.table.aims()["handle"][:3] + self._beside + min(0.03, far - opening) * out
            yield self._towards(to, yaw, CLOSED)
        yield from self._hold(ready, 2)
        yield from self._rise(ready)

    def _push_in(self, front: str, state: str) -> Iterator[np.ndarray]:
        """Before a drawer's front, down, and forwards with two spread fingers, which pass a narrow handle."""
        at = self.table.aims()[front]
        out = _out(at[3])
        before = at[:3] + 0.035 * out + 0.5 * self._beside
        yield from self._over(before, at[3], SPREAD)
        yield from self._go(before, at[3], SPREAD)
        start = self.table.look()[state]
        for _ in range(12):
            at, now = self.table.aims()[front], self.table.look()[state]
            if now < 0.003 or (self._share < 1 and now < start * (1 - self._share)):
                break
            yield self._towards(at[:3] - 0.08 * out + 0.5 * self._beside, at[3], SPREAD)
        yield from self._go(self._hand[:3] + 0.03 * out, at[3], SPREAD, most=3)
        yield from self._rise(SPREAD)

    def _close(self) -> Iterator[np.ndarray]:
        return self._push_in("front", "opening")

    def _shut(self) -> Iterator[np.ndarray]:
        return self._push_in("pop", "popped")

    def _press(self) -> Iterator[np.ndarray]:
        at = self.table.aims()["button"] + self._beside
        yaw = self._hand[3]
        yield from self._over(at, yaw, CLOSED)
        for _ in range(8):
            if self.table.look()["button"] > 0.0085:
                break
            yield self._towards(at - [0, 0, 0.02], yaw, CLOSED)
        yield from self._rise(CLOSED)

    def _put(self, place: str | Sequence[float]) -> Iterator[np.ndarray]:
        """Take the small object, and put it into or onto ``tray``, ``top``, ``drawer``, or to (x, y) of the table."""
        small, aims = self.table.look()["small"], self.table.aims()
        yaw = (small[3] + np.pi / 2) % np.pi - np.pi / 2
        at = small[:3] + [0, 0, aims["grasp"]] + self._beside
        ready = np.clip(2 * (aims["width"] + 0.03) / aims["widest"] - 1, CLOSED, OPEN)
        yield from self._over(at, yaw, ready)
        yield from self._go(at, yaw, ready)
        yield from self._hold(CLOSED, 4)
        yield from self._go(at + [0, 0, HIGH - at[2]], yaw, CLOSED, most=6, near=0.03)
        to = self.table.aims()[place] if isinstance(place, str) else np.array([*place, 0.0])
        to = to + [0, 0, aims["grasp"] + 0.004]
        if place == "drawer":  # the fingers must fit in
            yaw = aims["square"] + np.pi * np.round((yaw - aims["square"]) / np.pi)
        yield from self._over(to, yaw, CLOSED)
        yield from self._go(to, yaw, CLOSED, most=10)
        yield from self._hold(ready, 2)
        yield from self._rise(ready)

    def _slide(self, to: Any) -> Iterator[np.ndarray]:
        """Behind the large object, down, and forwards with two spread fingers side by side: one would roll off it."""
        to = np.asarray(to, float)
        for _ in range(3):  # again where it has come out of the way
            at, radius = self.table.look()["large"][:2], self.table.aims()["radius"]
            ahead = (to - at) / np.linalg.norm(to - at)
            square = np.arctan2(ahead[1], ahead[0]) - np.pi / 2
            yaw = square - np.pi * np.round(square / np.pi)
            behind = np.array([*(at - (radius + 0.025) * ahead + 0.3 * self._beside[:2]), LOW])
            yield from self._over(behind, yaw, SPREAD)
            yield from self._go(behind, yaw, SPREAD)
            for _ in range(24):
                at, hand = self.table.look()["large"][:2], self._hand
                left = (to - at) @ ahead - (1 - self._share) * 0.2
                if left < 0.008:
                    break
                aside = (to - at) - ((to - at) @ ahead) * ahead  # it sticks to the fingers, and is drawn along
                forth = min(0.03, 0.008 + 0.4 * left) * ahead
                yield self._towards(np.array([*(hand[:2] + forth + 0.4 * aside), LOW]), yaw, SPREAD)
            yield from self._go(self._hand[:3] - [*(0.03 * ahead), 0.0], yaw, OPEN, most=3)
            yield from self._rise(OPEN)
            if np.linalg.norm(to - self.table.look()["large"][:2]) < 0.022 or self._share < 1:
                break


class Straight(Skills):
    """On the table: straight to each thing that the plan changes, from whatever side and whatever stands in between;
    closes the fingers there, and straight on to where that thing is at the goal."""

    def _play(self) -> Iterator[np.ndarray]:
        for skill in self.plan:
            place, to = self._ends(skill)
            yaw = float(self._hand[3])
            yield from self._go(place, yaw, OPEN)
            yield from self._hold(CLOSED, 3)
            yield from self._go(to, yaw, CLOSED)
            yield from self._hold(OPEN, 2)
            self.done += 1
        while True:
            yield np.zeros(5)

    def _ends(self, skill: Skill) -> tuple[np.ndarray, np.ndarray]:
        """(3,) where a thing is, and where it is to be [m]."""
        (name, *to), aims, now = skill, self.table.aims(), self.table.look()
        if name in ("open", "close"):
            left = aims["travel"] - now["opening"] if name == "open" else -now["opening"]
            return aims["handle"][:3], aims["handle"][:3] + left * _out(aims["square"])
        if name == "press":
            return aims["button"], aims["button"] - [0.0, 0.0, 0.02]
        if name == "shut":
            return aims["pop"][:3], aims["pop"][:3] - now["popped"] * _out(aims["pop"][3])
        (place,) = to
        end = aims[place] if isinstance(place, str) else np.array([*place, 0.0])
        if name == "slide":
            return np.append(now["large"][:2], LOW), np.append(end[:2], LOW)
        lifted = [0.0, 0.0, aims["grasp"]]
        return now["small"][:3] + lifted, end + lifted


def _out(yaw: float) -> np.ndarray:
    """(3,) the direction in which a drawer opens whose cabinet is turned so far."""
    return np.array([np.sin(yaw), -np.cos(yaw), 0.0])
