"""The scripted pusher: round behind each puck, straight through it to its goal, and then home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

STEP = 0.02  # of an action of 1 [m]
BEHIND, AROUND = 0.062, 0.078  # of a puck's middle: where a push begins; the circle on which the hand goes round it [m]
ALIGNED = 0.018  # a push begins, and goes on, within this beside the line through goal and puck [m]
CLOSE = 0.012  # a puck this near its goal is left there [m]
EDGE = 0.152  # the hand does not go beyond [m]


class Pushing(Memoryless):
    """Acts on "state" and "goal": places of the hand and of each puck, x and y [m]."""

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._puck: int | None = None

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(2,) action in [-1, 1]."""
        hand, *pucks = np.asarray(observation["state"], float).reshape(-1, 2)
        home, *goals = np.asarray(observation["goal"], float).reshape(-1, 2)
        off = [float(np.linalg.norm(puck - goal)) for puck, goal in zip(pucks, goals, strict=True)]
        if self._puck is None or off[self._puck] < CLOSE:
            far = [puck for puck, distance in enumerate(off) if distance > 1.6 * CLOSE]
            self._puck = far[0] if far else None
        if self._puck is None:
            return self._go(hand, home, pucks)
        puck, goal = pucks[self._puck], goals[self._puck]
        along = (goal - puck) / off[self._puck]
        beside = (hand - puck) @ np.array([-along[1], along[0]])
        if (hand - puck) @ along < -0.03 and abs(beside) < ALIGNED:
            target = puck - along * 0.03 - 0.8 * beside * np.array([-along[1], along[0]])
            reach = min(1.0, (off[self._puck] + 0.03) / STEP)
            step = target + along * min(STEP, off[self._puck]) - hand
            return np.clip(step / STEP, -reach, reach).clip(-1.0, 1.0)
        return self._go(hand, np.clip(puck - BEHIND * along, -EDGE, EDGE), pucks)

    def _go(self, hand: np.ndarray, target: np.ndarray, pucks: list[np.ndarray]) -> np.ndarray:
        """Towards a place, round the puck that is nearest where one is in the way."""
        way = target - hand
        distance = float(np.linalg.norm(way))
        for puck in sorted(pucks, key=lambda puck: float(np.linalg.norm(puck - hand))):
            if distance < 1e-6:
                break
            ahead = float(np.clip((puck - hand) @ way / distance, 0.0, distance))
            if np.linalg.norm(hand + way / distance * ahead - puck) > BEHIND - 0.012 or ahead == 0.0:
                continue
            out = hand - puck
            radius = float(np.linalg.norm(out))
            side = np.array([-out[1], out[0]]) / radius
            side *= np.sign(side @ way) or 1.0
            way = STEP * side + (AROUND - radius) * out / radius
            inside = np.clip(hand + way, -EDGE, EDGE)
            if np.linalg.norm(inside - hand) < 0.3 * STEP:  # a wall: the other way round
                way = -STEP * side + (AROUND - radius) * out / radius
            break
        return np.clip(way / STEP, -1.0, 1.0)
