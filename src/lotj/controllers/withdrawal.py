"""What a robot does after a success anyway, used: taking the plug out again, seen backwards, is an insertion.

Before the next trial the plug must leave its socket. Straight up, then sideways to points drawn at random, it passes
through what a policy will meet on its way in, and each motion backwards is the one that was right there (time reversal
as self-supervision: Nair, Babaeizadeh, Finn and Levine 2018). So a first success shows insertions from all around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lotj.experience import Episode, Observation, Recorder

REACH = 20e-3
"""Largest distance of an extraction's end from the socket in x and y [m]: as far as trials start (LOTJ VI-A)."""

POINTS = 4
"""Points around the socket that the plug is taken to after a success: up, then so often sideways and back."""


def withdraw(
    env: Any,
    descent: float,
    rng: np.random.Generator,
    observe: Callable[[Observation], Observation],
    notes: Callable[[Observation], Mapping[str, np.ndarray]],
    name: Callable[[int], dict[str, object]],
) -> list[Episode]:
    """Takes a seated plug out and leaves it at the last of `POINTS` points around its socket.

    Args:
        env: a `lotj.robots.robot.RobotEnv` whose plug sits.
        descent: what the trial's actions went down in all; so far it goes up at least, for a blocked hand goes down
            less than it is told to.
        rng: draws the points.
        observe, notes: what is recorded of an observation.
        name: ``task``, ``kind`` and ``seed`` of the k-th episode, from 1.

    Returns:
        the insertions that this shows, backwards: the first to the seat, rewarded; the others to over it, cut off
        there. Where the plug is lost, those shown until then: the trial has its success, and the plug is grasped anew
        before the next, as after any.
    """
    ends = rng.uniform(-REACH, REACH, (POINTS, 2)) / env.action_scale
    aside = [_outwards(np.array([*end, 0.0])) for end in ends]
    shown: list[Episode] = []
    observation, _, lost, _, _ = env.relax()
    for point, way in enumerate(aside):
        back = -aside[point - 1][::-1] if point else _outwards(np.array([0.0, 0.0, descent]))
        steps = (*back, *way)
        start = 0 if not point else len(back)  # on the way back over the socket nothing new is shown
        recorder = None
        for number, action in enumerate(steps):
            if number == start:
                recorder = Recorder(observe(observation), notes(observation))
            if lost:
                return shown
            observation, _, lost, _, _ = env.step(action)
            if recorder is not None:
                recorder.add(action, 0.0, observe(observation), notes(observation))
        if lost or recorder is None:
            return shown
        out = recorder.finish(False, True, **name(len(shown) + 1))  # type: ignore[arg-type]
        shown.append(backwards(out, to_seat=not point))
    return shown


def backwards(out: Episode, to_seat: bool) -> Episode:
    """The insertion that the extraction `out` shows. If that began at the seat (`to_seat`), its end backwards is a
    success, rewarded with 1; otherwise it is cut off."""
    reward = np.zeros(len(out), np.float32)
    reward[-1] = to_seat
    observation, notes = (
        {name: values[::-1] for name, values in group.items()} for group in (out.observation, out.notes)
    )
    action, ended = -out.action[::-1], {"terminated": to_seat, "truncated": not to_seat}
    return replace(out, observation=observation, action=action, reward=reward, **ended, notes=notes)


def _outwards(total: np.ndarray) -> np.ndarray:
    """(N, 3) steps of at most 1 that make `total`, the rest first."""
    steps: list[np.ndarray] = []
    while np.abs(total).max() > 0:
        steps.append(np.clip(total, -1.0, 1.0))
        total = total - steps[-1]
    return np.array(steps[::-1], np.float32).reshape(-1, 3)
