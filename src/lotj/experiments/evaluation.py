"""The last phase: true successes of what has been learnt, and of what has not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from lotj.agents import Learner
from lotj.controllers import Controller
from lotj.envs.base import spec_of
from lotj.envs.insertion import InsertionEnv
from lotj.envs.registry import expert_of, make_task
from lotj.evaluation import (
    LABELS,
    EvaluationResult,
    FilmStrip,
    add_evaluation,
    evaluate,
    load_filmstrips,
    save_filmstrips,
)
from lotj.experience import Observation
from lotj.experiments.entrants import DEFAULT, POLICIES, baseline, check_entrants
from lotj.experiments.stages import INSERTION, add_timing, bench_of, practised_agent, pretraining_of
from lotj.geometry import mosaic
from lotj.rewards.model import RewardModel
from lotj.runs import Run
from lotj.saliency.gradcam import gradcam
from lotj.sim.bench import RATE_HZ
from lotj.training.localize import load_localizer
from lotj.training.pretrain import load_agent, load_reward

_WHEN = {"offline": "before", "practice": "after"}
"""Film strip of each learned policy."""

FIRST_EVALUATION_SEED = 10_000
"""Evaluation starts from poses of these seeds on; practice draws its own from another stream."""


class PolicyController:
    """The learnt policy as a controller, from what is observed and nothing else.

    Args:
        agent: acts.
        spread: share of the policy's standard deviation that its actions have; 0 takes the mean action. An image does
            not tell all (how high the plug stands, what it hides): a policy without memory that never varies its action
            stays stuck where it once is, a varying one comes free.
    """

    def __init__(self, agent: Learner, spread: float = 1.0) -> None:
        self._agent, self._spread = agent, spread
        self._rng = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """Start a trial; its random numbers depend on nothing else."""
        self._rng = np.random.default_rng(seed)

    def __call__(self, observation: Observation, info: Mapping[str, object]) -> np.ndarray:
        """(A,) action in [-1, 1]."""
        return self._agent.act({name: values[None] for name, values in observation.items()}, self._spread, self._rng)[0]


def evaluate_phase(
    run: Run,
    trials: int = 20,
    device: str = "cpu",
    on_trial: Callable[[str], None] = lambda name: None,
    spread: float = 1.0,
    controllers: Sequence[str] = DEFAULT,
) -> list[EvaluationResult]:
    """True success of learned policies and hand-made baselines, all from the same start poses.

    Args:
        run: of practice.
        trials: of each.
        device: where to compute.
        on_trial: told the name after each trial.
        spread: of the learned policies, see `PolicyController`.
        controllers: which, see `lotj.experiments.entrants`.

    Raises:
        SettingsError: an unknown controller.
        CheckpointError: a model that one of them needs is missing.
    """
    check_entrants(controllers)
    if not run.setting("task").startswith(INSERTION):
        return _evaluate_task(run, trials, device, on_trial, spread)
    pretrained = pretraining_of(run)
    reward = load_reward(pretrained, device)
    agents = {name: _policy(name, run, device) for name in POLICIES if name in controllers}
    size = load_agent(pretrained, device, run.setting("agent")).spec.observation["image"].shape[2]
    env = InsertionEnv(*bench_of(run), image_size=size)
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trials)
    context = {key: run.setting(key) for key in ("connector", "scenario", "robot", "domain")} | {"spread": spread}
    started, results = time.perf_counter(), []
    try:
        entrants: dict[str, Controller] = {
            name: PolicyController(agents[name], spread)
            if name in agents
            else baseline(name, env, lambda: load_localizer(pretrained, device).locate)
            for name in controllers
        }
        for name, controller in entrants.items():
            result = evaluate(
                env,
                controller,
                seeds,
                name=name,
                label=LABELS[name],
                context=context,
                rate_hz=RATE_HZ,
                film_seeds=seeds[:3] if name in agents else (),
                on_trial=lambda trial, success, name=name: on_trial(name),
            )
            add_evaluation(run.path / "evaluation.json", result)
            results.append(result)
    finally:
        env.close()
    _add_films(run, {_WHEN[r.name]: _film(r, agents[r.name], reward) for r in results if r.films})
    add_timing(run, "evaluate", time.perf_counter() - started)
    return results


def _evaluate_task(
    run: Run, trials: int, device: str, on_trial: Callable[[str], None], spread: float
) -> list[EvaluationResult]:
    """The same for a task whose environment rewards: the practised policy, its pretraining, and the scripted expert."""
    name = run.setting("task")
    env = make_task(name)
    spec, started, results = spec_of(env), time.perf_counter(), []
    entrants: dict[str, Controller] = {"practice": PolicyController(practised_agent(run, device), spread)}
    if run.setting("pretrain_run"):
        offline = load_agent(pretraining_of(run), device, run.setting("agent"))
        entrants = {"offline": PolicyController(offline, spread)} | entrants
    entrants["expert"] = expert_of(name, env)
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trials)
    try:
        for entrant, controller in entrants.items():
            result = evaluate(
                env,
                controller,
                seeds,
                name=entrant,
                label=LABELS[entrant],
                context={"task": name, "spread": spread},
                max_steps=spec.max_steps,
                rate_hz=spec.rate_hz,
                on_trial=lambda trial, success, entrant=entrant: on_trial(entrant),
            )
            add_evaluation(run.path / "evaluation.json", result)
            results.append(result)
    finally:
        env.close()
    add_timing(run, "evaluate", time.perf_counter() - started)
    return results


def _add_films(run: Run, films: Mapping[str, FilmStrip]) -> None:
    """Beside those that the run has."""
    if films:
        path = run.path / "filmstrips.npz"
        save_filmstrips(path, (load_filmstrips(path) if path.exists() else {}) | dict(films))


def _policy(name: str, run: Run, device: str) -> Learner:
    """The agent of one of `POLICIES`."""
    return (
        load_agent(pretraining_of(run), device, run.setting("agent"))
        if name == "offline"
        else practised_agent(run, device)
    )


def _film(result: EvaluationResult, agent: Learner, reward: RewardModel) -> FilmStrip:
    """One evaluation trial with the reward's scores and Grad-CAM of reward and policy (its Y action)."""
    seed = min(result.films)
    frames = result.films[seed]
    images = agent.front.bring({"image": frames}, reward.device)["image"]
    classifier, actor = reward.classifier, agent.algorithm
    encoder = agent.encoders[min(agent.encoders, key=lambda role: role != "policy")]
    with torch.enable_grad():
        reward_heat = gradcam(classifier, classifier.saliency_stage, images, lambda logit: logit)
        policy_heat = gradcam(
            lambda seen: actor({"image": seen}), encoder.saliency_stage, images, lambda mean: mean[:, 1]
        )
    return FilmStrip(
        frames=mosaic(frames),
        scores=reward.score(frames),
        reward_heat=mosaic(reward_heat),
        policy_heat=mosaic(policy_heat),
        success=bool(result.success[list(result.seed).index(seed)]),
        seed=seed,
    )
