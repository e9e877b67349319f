"""What a run of practice holds: its pretraining, its policy, its bench and its part."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from lotj.agents import Learner
from lotj.controllers import Memoryless
from lotj.envs.registry import make_task
from lotj.errors import CheckpointError, SettingsError
from lotj.experience import Observation, batch_of_one
from lotj.runs import BASE, Run
from lotj.training.practice import CHECKPOINT, checkpoint_after
from lotj.training.pretrain import load_agent

PART = "connector.toml"
"""In a practice run: the connector that it practises on, as it was then."""


def pretraining_of(run: Run) -> Run:
    """The pretraining that a practice run has begun from, also where both have been moved or it is the base that has
    come with lotj; SettingsError if it is not there, or another in its place, e.g. the base of a newer lotj."""
    created = run.config.get("pretrain_created")
    try:
        found = Run.open(run.locate("pretrain_run", "run.json"))
    except SettingsError:
        if not BASE.is_dir() or Run.open(BASE).created != created:
            raise
        return Run.open(BASE)
    if created not in (None, found.created):
        rule = f"the run practised from one of {created}; put that back, or install the lotj that it came with"
        raise SettingsError(f"{found.path}: a pretraining of {found.created}, but {rule}")
    return found


def practised_agent(run: Run, device: str = "cpu", after: int | None = None) -> Learner:
    """The agent that a practice run has kept as of its last saved trial, with the encoders of its pretraining; or as of
    a trial that `practice_phase` took a snapshot of.

    Raises:
        CheckpointError: the run holds no finished trial.
    """
    name = CHECKPOINT if after is None else checkpoint_after(after)
    if not run.has(name):
        raise CheckpointError(f"{run.path} holds no finished trial: practise first, with `lotj practice`")
    state = run.load(name, device)
    learner = Learner.load(state.get("kept_agent") or state["agent"], device)
    practised = state.get("kept", state["trial"]) > 0
    if learner.front.learns and practised:
        return learner
    whole = load_agent(pretraining_of(run), device, run.setting("agent"))
    if practised:
        whole.take_heads(learner)
    return whole


class PractisedController(Memoryless):
    """What a practised policy does as a controller: its mean action, or the sum carried out where it is a residual.

    Args:
        run: of the practice, maybe on another task that shows and takes the same.
        device: of its networks.
    """

    def __init__(self, run: Run, device: str = "cpu") -> None:
        self._policy, self._corrects, self._scale = practised_agent(run, device), None, 1.0
        with closing(make_task(run.setting("task"))) as env:
            if env.has_wrapper_attr("controller"):
                self._corrects, self._scale = (env.get_wrapper_attr(name) for name in ("controller", "scale"))

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        """(A,) action in [-1, 1]."""
        action = self._scale * self._policy.act(batch_of_one(observation))[0]
        return np.clip(action if self._corrects is None else action + self._corrects(observation, {}), -1.0, 1.0)


def copy_of(run: Run, bench: int = 1) -> Path:
    """Where a run keeps the part of a bench."""
    return run.path / (PART if bench == 1 else f"connector-{bench}.toml")


def part_of(run: Run, bench: int = 1) -> str:
    """The connector of a bench of a run, for `find_connector`: the run's copy, whatever has become of the file."""
    copy = copy_of(run, bench)
    return str(copy) if copy.exists() else run.setting("connector")


def bench_of(run: Run, bench: int = 1) -> tuple[str, str, int, str]:
    """Connector, robot, seed of the domain and scenario of a practice run, or of one of its benches, as `InsertionEnv`
    takes them; SettingsError if it has no such bench."""
    robots = run.config.get("robots") or [run.setting("robot")]
    if not 1 <= bench <= len(robots):
        raise SettingsError(f"bench {bench}: {run.path} practised on {len(robots)}; name one of these")
    seed = run.setting("domain_seed", int) + bench - 1
    return part_of(run, bench), robots[bench - 1], seed, run.setting("scenario")
