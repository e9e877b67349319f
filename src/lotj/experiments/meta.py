"""Offline meta-reinforcement learning as jobs: prior data of many parts as one data set, a policy for all of them, and
what it makes of the demonstrations of a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.agents import Learner
from lotj.agents.oda import ODA, vector_names
from lotj.data.replay import DEMONSTRATED, Contexts
from lotj.data.store import DiskStore, MemoryStore, Store
from lotj.data.writer import EpisodeWriter
from lotj.envs.base import spec_of
from lotj.envs.registry import make_task
from lotj.experience import PRACTISED, Task, rollout
from lotj.experiments.chapter import AFTER_PRETRAINING
from lotj.experiments.chapter_jobs import policies, solved, tried
from lotj.experiments.evaluation import PolicyController
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import pretrain_phase
from lotj.experiments.study import begun
from lotj.runs import Run, find_run
from lotj.training.practice import practice
from lotj.training.pretrain import load_agent
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.prior import sources
from lotj.training.rewarded import Rewarded


def _data(folder: str) -> Path:
    """Of a job that records."""
    return Path(folder) / "data"


def merge_job(demos: Sequence[str], practised: Sequence[str], folder: str) -> dict[str, Any]:
    """One data set of the demonstrations of several parts, and of all trials of those that have been practised on:
    folders of the jobs that made them. Each part is a task."""
    trials: dict[str, list[DiskStore]] = {}
    for path in demos:
        store = DiskStore.open(_data(path))
        trials.setdefault(store.tasks[0].env, []).append(store)
    for path in practised:
        run = find_run(Path(path), "practice")
        trials[run.setting("task")].append(DiskStore.open(run.path / "trials"))
    counts = {}
    for env, stores in trials.items():
        task = Task(stores[0].tasks[0].name, env)
        with EpisodeWriter(_data(folder), task, stores[0].schema) as writer:
            for store in stores:
                for number in range(len(store)):
                    episode = store.episode(number)
                    if (episode.kind, episode.seed) not in writer.finished:
                        writer.append(replace(episode, task=task.name))
            counts[env] = len(writer.finished)
    return {"episodes": counts}


def meta_job(
    agent: str, settings: Mapping[str, Any], data: str, updates: int, seed: int, folder: str, threads: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Trains one policy on the data set of a `merge_job`; of one that is told, ``kl_nats`` of z at the end: near 0 it
    does not listen."""
    torch.set_num_threads(threads)
    preset = find_preset("state")
    preset = replace(preset, agent=settings, pretrain=replace(preset.pretrain, steps=updates))
    run = pretrain_phase(
        preset, _data(data), Path(folder), seed, device, begun(Path(folder), "pretrain"), False, agent=agent
    )
    run.close()
    told = {name: value for name, value in run.metrics(agent)[-1].items() if name == "kl_nats"}
    return {"run": run.path.name, **told}


def adapt_job(
    task: str, agent: str, trained: str, demos: str, other: str, trials: int, points: Sequence[int], seed: int,
    evaluation_trials: int, practice_settings: Mapping[str, Any], folder: str, threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """What a policy for all parts does on a new one: told by demonstrations which it is, and after practice whose
    buffer begins empty; that of an agent which cannot be told holds the demonstrations.

    Args:
        trained: folder of a `meta_job`.
        demos, other: folders of demonstrations of this part, and of another one; without that what wrong ones do is
            not asked.
        trials, points: of practice; none where `trials` is 0.

    Returns:
        ``curve``, as of `learn_job`; where the agent reads demonstrations, ``told``: successes when told by none (the
        prior), by its ``own rollouts`` so told, by demonstrations of the other part, and by those of this one with
        their actions ``shuffled``; ``solved``, see `chapter_jobs.solved`.
    """
    torch.set_num_threads(threads)
    learner = load_agent(find_run(Path(trained), "pretrain"), device, agent, **AFTER_PRETRAINING)
    shown = DiskStore.open(_data(demos))
    with closing(make_task(task)) as env:

        def successes(policy: Learner) -> dict[str, Any]:
            return tried(env, PolicyController(policy, 0.0), agent, seed, evaluation_trials)

        contexts, told = None, {}
        if isinstance(learner.algorithm, ODA):
            if other:
                told["nothing"] = successes(learner)  # z is 0, the mean of the prior
                wrong = {"own rollouts": rollouts(env, learner, seed), "another part": DiskStore.open(_data(other))}
                for by, store in (wrong | {"shuffled": shown}).items():
                    _tell(learner, store, seed, shuffled=by == "shuffled")
                    told[by] = successes(learner)
            contexts = _tell(learner, shown, seed)
        curve = [{"trials": 0, "steps": 0, **successes(learner)}]
        found: dict[str, Any] = {"curve": curve, "told": told, "solved": None}
        if not trials:
            return found
        prior = []
        if contexts is None:
            prior = sources(shown, PretrainConfig(policy_kinds=None), share_of_batch=DEMONSTRATIONS)
        config = replace(
            find_preset("state").practice, trials=trials, max_steps=spec_of(env).max_steps, threads=threads,
            online_fraction=1.0 - sum(of.share for of in prior), **practice_settings,
        )  # fmt: skip
        root, resume = Path(folder), begun(Path(folder), "practice")
        run = resume or Run.create(root, "practice", {"task": task, "agent": agent, "practice": asdict(config)}, seed)
        with run:
            how: dict[str, Any] = {"live": False, "resume": resume is not None, "snapshots": points}
            practice(Rewarded(env, config.max_steps, seed), learner, prior, config, run, contexts=contexts, **how)
            rows = run.metrics()
            for policy, after, taken in policies(run, (*points, trials), device):
                curve.append({"trials": after, "steps": taken, **successes(policy)})
    found["solved"] = solved([row["predicted_success"] for row in rows])
    return found


DEMONSTRATIONS = 0.2
"""Share of a batch: 20 demonstrations beside up to 100 trials, evenly drawn."""


def rollouts(env: Any, learner: Learner, seed: int) -> MemoryStore:
    """Episodes of a policy, as many as there are demonstrations, with actions drawn from it."""
    store, acts, steps = MemoryStore([Task(ROLLOUT, ROLLOUT)]), PolicyController(learner), spec_of(env).max_steps
    for number in range(ROLLOUTS):
        first = FIRST_ROLLOUT + 1000 * seed + number
        store.append(rollout(env, acts, first, task=ROLLOUT, kind=ROLLOUT, max_steps=steps))
    return store


ROLLOUT, ROLLOUTS, FIRST_ROLLOUT = "rollout", 20, 50_000_000
"""Kind of these episodes, their number, and the seed of the first."""


def _tell(learner: Learner, shown: Store, seed: int, shuffled: bool = False) -> Contexts:
    """Tells an agent by demonstrations, or rollouts, which task it is, maybe with each action at the place of another;
    returns them, for practice."""
    kinds = (*DEMONSTRATED, ROLLOUT)
    contexts = Contexts.of(shown, vector_names(learner.spec), practised=True, kinds=kinds)
    rng = np.random.default_rng([seed, 3])
    drawn = contexts.draw(np.array([PRACTISED]), rng)[0]
    if shuffled:
        axes = learner.algorithm.axes
        first = (drawn.shape[1] - axes - 1) // 2  # behind what is observed before
        actions = drawn[:, first : first + axes]
        actions[:] = rng.permutation(actions)
    assert isinstance(learner.algorithm, ODA)
    learner.algorithm.adapt(torch.from_numpy(drawn).to(learner.device))
    return contexts
