"""What the chapters do: record prior data, learn, practise, try. Each function is the work of one job.

Its arguments and its result are what JSON holds; where it leaves a folder, stopped, it goes on from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.agents import Learner
from lotj.agents.brac import log_likelihood
from lotj.controllers import Controller, Memoryless
from lotj.controllers.blocks import SideEntry
from lotj.controllers.table_skills import Straight
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.envs.base import spec_of
from lotj.envs.registry import expert_of, make_task, named_options
from lotj.envs.residual import ResidualAction
from lotj.evaluation.rollout import evaluate
from lotj.experience import rollout
from lotj.experiments.evaluation import FIRST_EVALUATION_SEED, PolicyController
from lotj.experiments.practised import PractisedController, practised_agent
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practise_task_phase, pretrain_phase
from lotj.experiments.study import begun
from lotj.runs import Run, find_run
from lotj.training.collect import TaskCollection, collect
from lotj.training.pretrain import load_agent

PLAYERS = ("policy", "demonstrator")
"""Settings of `TaskCollection` that name whose policy plays."""


def collect_job(task: str, folder: str, **settings: Any) -> dict[str, Any]:
    """Records prior data; what is there already is not recorded again. Whoever plays is the folder of an arm's job."""
    for of in PLAYERS:
        if of in settings:
            kinds = ("practice", "pretrain")
            run = next(run for kind in kinds if (run := begun(Path(settings[of]), kind)) is not None)
            settings[of] = str(run.path)
    collection = TaskCollection((task,), **settings)
    counts = {"episodes": 0, "successes": 0}

    def report(progress: Any) -> None:
        counts["episodes"] += 1
        counts["successes"] += progress.success

    collect(Path(folder) / "data", collection, 1, report)
    return counts


def best_job(data: str, share: float, folder: str) -> dict[str, Any]:
    """Of the prior data of a `collect_job` the share of the episodes whose rewards have the largest sums."""
    store = DiskStore.open(Path(data) / "data")
    paid = np.array([store.episode(number).reward.sum() for number in range(len(store))])
    best = np.sort(np.argsort(-paid, kind="stable")[: max(1, round(share * len(store)))])
    with EpisodeWriter(Path(folder) / "data", store.tasks[0], store.schema) as writer:
        for episode in map(store.episode, best):
            if (episode.kind, episode.seed) not in writer.finished:
                writer.append(episode)
    return {"episodes": len(best), "reward": float(paid[best].mean()), "of": float(paid.mean())}


def line_job(task: str, evaluated: str, seed: int, evaluation_trials: int, controller: str) -> dict[str, Any]:
    """What the scripted expert, random actions or none reach."""
    with closing(make_task(evaluated)) as env:
        return tried_once(env, line_of(controller, evaluated, env), controller, seed, evaluation_trials)


def again_job(task: str, evaluated: str, seed: int, evaluation_trials: int, practised: str) -> dict[str, Any]:
    """What the policy that a `learn_job` has practised does at the end, in the folder of that, on another task."""
    run = find_run(Path(practised), "practice")
    with closing(make_task(evaluated)) as env:
        acts = PolicyController(practised_agent(run), 0.0)
        return tried_once(env, acts, run.setting("agent"), seed, evaluation_trials)


def learn_job(
    task: str, evaluated: str, seed: int, evaluation_trials: int, agent: str, settings: Mapping[str, Any], updates: int,
    share: float, trials: int, points: Sequence[int], practice: Mapping[str, Any], data: str, folder: str,
    online: Mapping[str, Any], corrects: str = "", point_trials: int = 0, begins: str = "", threads: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Learns from prior data, practises, and tries the policy before, after `points` of the trials, and at the end.

    Args:
        corrects: folder of another such job, whose policy the residual corrects; then what that does is tried before.
        point_trials: evaluation trials at the `points`; 0: as many as before and at the end.
        begins: folder of another such job, from whose agent practice begins.

    Returns:
        ``curve``: trials, steps of the environment, ``successes`` of ``n`` and mean ``reward`` of an episode;
        ``practice``: of its trials, see `lived`; of BRAC ``likelihood``, see `behaviour_likelihood`.
    """
    torch.set_num_threads(threads)
    of, more = find_preset("state"), {"trials": max(trials, 1), "online_fraction": 1.0 - share, "threads": threads}
    learns, practises = replace(of.pretrain, steps=updates), replace(of.practice, **more, **practice)
    preset = replace(of, agent=settings, pretrain=learns, practice=practises)
    root, curve, pretrained = Path(folder), [], None

    def make(name: str) -> Any:
        if not corrects:
            return make_task(name)
        base = PractisedController(find_run(Path(corrects), "practice"), device)
        return ResidualAction(make_task(name, residual=None), base, named_options(name)["residual"])

    with closing(make(evaluated)) as env:

        def try_out(learner: Any, trials: int, steps: int) -> None:
            tries = point_trials if point_trials and trials in points else evaluation_trials
            found = tried(env, PolicyController(learner, 0.0), agent, seed, tries)
            curve.append({"trials": trials, "steps": steps, **found})

        if data:
            before = begun(root, "pretrain")
            pretrained = pretrain_phase(preset, Path(data), root, seed, device, before, False, agent=agent)
            try_out(load_agent(pretrained, device, agent), 0, 0)
        if corrects:
            still = tried(env, Nothing(env.action_space.shape), agent, seed, evaluation_trials)
            curve.append({"trials": 0, "steps": 0, **still})
        first = practised_agent(find_run(Path(begins), "practice"), device) if begins else None
        if first is not None:
            try_out(first, 0, 0)
        if not trials:
            return {"curve": curve}
        how: dict[str, Any] = {"live": False, "snapshots": points, "resume": begun(root, "practice"), "learner": first}
        preset = replace(preset, agent={**settings, **online})
        run, _ = practise_task_phase(preset, task, root, agent, pretrained, seed, device, make=make, **how)
        with run:
            for learner, after, steps in policies(run, (*points, trials), device):
                try_out(learner, after, steps)
            found: dict[str, Any] = {"curve": curve, "practice": lived(run)}
            if agent == "brac" and pretrained is not None:
                found["likelihood"] = behaviour_likelihood(pretrained, run, (*points, trials), device)
    return found


IN_A_ROW = 50
"""So many successes one after the other in practice, exploration and all, and a part counts as solved (ODA's paper)."""


def solved(won: Sequence[int]) -> int | None:
    """Trials until `IN_A_ROW` successes; None where there are not so many in a row."""
    row = 0
    for number, success in enumerate(won, 1):
        row = row + 1 if success else 0
        if row == IN_A_ROW:
            return number
    return None


def lived(run: Run) -> dict[str, Any]:
    """Of a practice ``trials``, ``successes`` of them and when it was ``solved``; and of the actions of its last tenth
    the mean of each axis, ``action``, and the share of all that are beyond 0.95 either way, ``saturated``."""
    won, store = [bool(row["predicted_success"]) for row in run.metrics()], DiskStore.open(run.path / "trials")
    last = store.frame_episode >= len(store) - max(1, len(store) // 10)
    done = store.column("action")[last & ~np.isin(np.arange(store.n_frames), store.last_frames)]
    counts = {"successes": sum(won), "trials": len(won), "solved": solved(won)}
    return {**counts, "action": done.mean(0).tolist(), "saturated": float((np.abs(done) > 0.95).mean())}


def behaviour_likelihood(pretrained: Run, run: Run, points: Sequence[int], device: str) -> dict[str, Any]:
    """Log-likelihood [nats] that BRAC's fitted model of the behaviour gives to what was done: of prior data by the
    pretrained one, ``offline``; and ``online``, of the trials from each of its `points` to the next by the model as of
    the former, which has not seen them."""

    def known(learner: Learner, store: DiskStore, episodes: np.ndarray) -> float:
        rows = store.starts()
        rows = rows[np.isin(store.frame_episode[rows], episodes)]
        rows = np.random.default_rng(0).permutation(rows)[:LIKELIHOOD_ROWS]
        seen = store.observe(rows, learner.reads)
        return float(log_likelihood(learner, seen, store.column("action")[rows]).mean())

    data, trials = DiskStore.open(pretrained.setting("data")), DiskStore.open(run.path / "trials")
    model = load_agent(pretrained, device, "brac")
    offline, online = known(model, data, np.arange(len(data))), []
    for first, last in zip((0, *points), points, strict=False):
        model = practised_agent(run, device, first) if first else model
        online.append(known(model, trials, np.arange(first, last)))
    return {"offline": offline, "online": online}


LIKELIHOOD_ROWS = 5000
"""Steps of which it is asked, at most."""


def policies(run: Run, points: Sequence[int], device: str) -> Iterator[tuple[Learner, int, int]]:
    """The policies of a practice after some of its trials, of which the last is its end and the others have snapshots;
    with the trials and the steps of the environment until then."""
    taken = np.cumsum([row["steps"] for row in run.metrics()])
    for after in points:
        yield practised_agent(run, device, None if after == points[-1] else after), after, int(taken[after - 1])


def tried(env: Any, controller: Controller, name: str, seed: int, trials: int) -> dict[str, Any]:
    """``successes`` of ``n`` episodes and their mean ``reward``; the starts are those of the seed."""
    return _counted(_evaluated(env, controller, name, seed, trials))


def tried_once(env: Any, controller: Controller, name: str, seed: int, trials: int) -> dict[str, Any]:
    """A ``curve`` of one point, as of `tried`; and of each episode ``returns``, and whether it ``won``."""
    result = _evaluated(env, controller, name, seed, trials)
    each = {"returns": np.round(result.reward, 4).tolist(), "won": result.success.tolist()}
    return {"curve": [{"trials": 0, "steps": 0, **_counted(result)}], **each}


def _evaluated(env: Any, controller: Controller, name: str, seed: int, trials: int) -> Any:
    spec, first = spec_of(env), FIRST_EVALUATION_SEED * (seed + 1)
    return evaluate(
        env, controller, range(first, first + trials), name=name, max_steps=spec.max_steps, rate_hz=spec.rate_hz or 1.0
    )


def _counted(result: Any) -> dict[str, Any]:
    return {"successes": result.successes, "n": len(result), "reward": round(float(result.reward.mean()), 4)}


class Nothing(Memoryless):
    """Does nothing."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._still = np.zeros(shape, np.float32)

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(A,) of zeros."""
        return self._still


class Random:
    """Draws each action evenly from all."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng(seed)

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(A,) in [-1, 1]."""
        return self._rng.uniform(-1.0, 1.0, self._shape).astype(np.float32)


class Replayed:
    """Plays the actions (T, A) of another episode without looking, and then does nothing."""

    def __init__(self, actions: np.ndarray) -> None:
        self._actions = np.vstack([actions, np.zeros_like(actions[:1])])

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._step = -1

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(A,) of the next step."""
        self._step = min(self._step + 1, len(self._actions) - 1)
        return self._actions[self._step]


def _shown(task: str, env: Any) -> np.ndarray:
    """(T, A) actions of the scripted expert from one start, which is not evaluated."""
    how: dict[str, Any] = {"task": task, "kind": "expert", "max_steps": spec_of(env).max_steps}
    return rollout(env, expert_of(task, env), 0, **how).action


def _mean(task: str, env: Any) -> Replayed:
    shown = _shown(task, env)
    return Replayed(np.broadcast_to(shown.mean(0), shown.shape))


Line = Callable[[str, Any], Controller]
"""Who plays in a task, and in an environment of it, without learning."""
LINES: Mapping[str, Line] = {
    "expert": expert_of,
    "random": lambda task, env: Random(env.action_space.shape),
    "nothing": lambda task, env: Nothing(env.action_space.shape),
}
"""In every figure."""
FURTHER: Mapping[str, Line] = {
    "side-entry": lambda task, env: SideEntry(),
    "copy": lambda task, env: Replayed(_shown(task, env)),
    "mean action": _mean,
    "straight": lambda task, env: Straight(env.unwrapped.table, lambda: env.unwrapped.pair.plan),
}
"""Further lines, of some tasks alone: an expert's actions from another start, played blindly, or their mean at every
step; and straight to what is to be moved, and on, as the truth says. Where one of them succeeds, success says little
of who learns."""


def line_of(line: str, task: str, env: Any) -> Controller:
    """One of `LINES` or `FURTHER`, for an environment of that task."""
    return {**LINES, **FURTHER}[line](task, env)
