"""What a robot does after a success anyway, used: taking the plug out again, seen backwards, is an insertion.

Before the next trial the plug must leave its socket. Straight up, then sideways to places drawn at random, it passes
through what a policy will meet on its way in, and each motion backwards is the one that was right there (time reversal
as self-supervision: Nair, Babaeizadeh, Finn and Levine 2018). So a first success shows ways in from all around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lotj.data.replay import Trial
from lotj.errors import DislodgedError
from lotj.robots.robot import Robot
from lotj.training.practice_trials import RunningTrial

REACH = 20e-3
"""Largest distance of a way's end from the socket in x and y [m]: as far as trials start (LOTJ section VI-A)."""


@dataclass(frozen=True)
class WaysOut:
    """Motions that lead out of a socket: up, then sideways and back over it, again and again.

    Attributes:
        up: (N, 3) actions in [-1, 1].
        aside: for each way, (M, 3) actions in [-1, 1]. Backwards all are an expert's, who goes over the socket in
            whole steps and a rest, then down.
    """

    up: np.ndarray
    aside: tuple[np.ndarray, ...]


def ways_out(actions: Sequence[np.ndarray], count: int, action_scale: float, rng: np.random.Generator) -> WaysOut:
    """Ways out of the socket that end around it, not lower than where the trial began.

    Args:
        actions: the trial's (3,) actions up to its first look of success. What they went down it goes up: at least as
            far as it was, for a blocked hand goes down less than it is told to.
        count: number of ways.
        action_scale: metres of an action of 1.
        rng: draws where to.
    """
    descent = max(0.0, -float(np.sum([action[2] for action in actions])))
    ends = rng.uniform(-REACH, REACH, (count, 2)) / action_scale
    return WaysOut(_outwards(np.array([0.0, 0.0, descent])), tuple(_outwards(np.array([*end, 0.0])) for end in ends))


def _outwards(total: np.ndarray) -> np.ndarray:
    """(N, 3) steps that make `total`, the rest first."""
    steps: list[np.ndarray] = []
    while np.abs(total).max() > 0:
        steps.append(np.clip(total, -1.0, 1.0))
        total = total - steps[-1]
    return np.array(steps[::-1], np.float32).reshape(-1, 3)


def take_out(
    robot: Robot,
    ways: WaysOut,
    observe: Callable[[np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]],
    number: int,
) -> list[Trial]:
    """Takes a seated plug out and leaves it at the end of the last way.

    Args:
        robot: its plug sits.
        ways: to be taken.
        observe: makes of a frame what a trial keeps of it: the frame and its features.
        number: of the trial that has seated the plug.

    Returns:
        the ways in that this shows, the first to the seat, the others to over it. Where the plug is dislodged, those
        taken until then: the trial has its success, and the plug is grasped anew before the next, as after any.
    """
    shown: list[Trial] = []
    try:
        frame = robot.relax()
        for way, aside in enumerate(ways.aside):
            if way:  # back over the socket
                for action in -ways.aside[way - 1][::-1]:
                    frame = robot.move(action)
            out = RunningTrial()
            out.begin(observe(frame))
            for action in aside if way else (*ways.up, *aside):
                out.add(action, 0.0, observe(robot.move(action)))
            shown.append(backwards(number, out, to_seat=not way))
    except DislodgedError:
        pass
    return shown


def backwards(number: int, out: RunningTrial, to_seat: bool) -> Trial:
    """The way in that a way out shows.

    Args:
        number: of the trial whose success is undone, and with which the way stands and falls.
        out: the way out.
        to_seat: it began at the seat: its end backwards is a success. Otherwise it began over the socket, and it is cut
            off there.
    """
    steps = len(out.actions)
    reward = (to_seat & (np.arange(1, steps + 1) == steps)).astype(np.float32)
    return Trial(
        number=number,
        frames=np.stack(out.frames[::-1]),
        features={name: np.stack([f[name] for f in out.features[::-1]]) for name in out.features[0]},
        actions=-np.stack(out.actions[::-1]),
        scores=reward,
        rewards=reward,
        terminated=to_seat,
        truncated=not to_seat,
    )
