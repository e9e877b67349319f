"""The last phase: true successes of what has been learnt, and of the hand-made baselines of LOTJ, section VI-A."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.agents import Learner
from lotj.agents.localizer import Localizer
from lotj.controllers import Controller
from lotj.controllers.localize import Localize, LocalizeFirst
from lotj.controllers.recovery import Recovery
from lotj.controllers.search import RandomSearch, SpiralSearch, StraightDown
from lotj.data.pictures import FRAMES, spread
from lotj.envs.base import spec_of
from lotj.envs.disturbances import disturbed
from lotj.envs.insertion import NEAR_BOX, InsertionEnv
from lotj.envs.registry import expert_of, find_task, make_task, unseen_by
from lotj.envs.settled import Settled
from lotj.errors import SettingsError, unknown
from lotj.evaluation.filmstrip import FilmStrip, load_filmstrips, save_filmstrips
from lotj.evaluation.results import EXPERT, LABELS, REMOTE, USUAL, EvaluationResult, add_evaluation, read_evaluations
from lotj.evaluation.rollout import evaluate
from lotj.experience import INSERTION, Observation, batch_of_one, rollout
from lotj.experiments.practised import bench_of, practised_agent, pretraining_of
from lotj.experiments.stages import timed
from lotj.experiments.state_iql import STATE_IQL, Located
from lotj.nets.front import PixelEncoder
from lotj.rewards.model import RewardModel
from lotj.robots.client import RemoteRobot, is_address
from lotj.robots.policy_server import RemotePolicy
from lotj.robots.robot import EVALUATION, Setup, WitnessedEnv
from lotj.runs import Run
from lotj.saliency.gradcam import gradcam
from lotj.sim.connector import connector_text, find_connector
from lotj.training.localize import load_localizer
from lotj.training.pretrain import load_agent, load_reward

_WHEN = {"offline": "before", "practice": "after"}
"""Film strip of each learned policy."""

FIRST_EVALUATION_SEED = 10_000
"""Evaluation starts from poses of these seeds on; practice draws its own from another stream."""


@dataclass
class PolicyController:
    """The learnt policy as a controller, from what is observed and nothing else.

    Attributes:
        agent: acts.
        spread: share of the policy's standard deviation that its actions have; 0 takes the mean action. An image does
            not tell all (how high the plug stands, what it hides): a policy without memory that never varies its action
            stays stuck where it once is, a varying one comes free.
        before: makes observations (1, ...) by name into what the agent reads, where that is something else.
    """

    agent: Learner
    spread: float = 1.0
    before: Callable[[Observation], Observation] | None = None

    def reset(self, seed: int) -> None:
        """Start a trial; its random numbers depend on nothing else."""
        self._rng = np.random.default_rng(seed)

    def __call__(self, observation: Observation, info: Mapping[str, object]) -> np.ndarray:
        """(A,) action in [-1, 1]."""
        seen = batch_of_one(observation)
        return self.agent.act(self.before(seen) if self.before else seen, self.spread, self._rng)[0]


def evaluate_phase(
    run: Run,
    trials: int = 20,
    device: str = "cpu",
    on_trial: Callable[[str, int, int], None] = lambda name, done, trials: None,
    spread: float = 1.0,
    controllers: Sequence[str] = (),
    after: int | None = None,
    robot: str = "",
    policy: str = "",
    recover: bool = True,
    bench: int = 1,
) -> list[EvaluationResult]:
    """True success of learned policies and of what else there is to compare with, all from the same starts, under the
    disturbance that the run practised under, if any.

    Args:
        run, trials: of practice; of each controller.
        on_trial: told the name after each trial, and how many it has done, of how many.
        spread: of the learned policies, see `PolicyController`.
        controllers: which of `LABELS`; none: those that are usual for the run's task.
        after: the trial after which the practised policy is evaluated, one of the run's snapshots; None: the last.
        robot: address of a served robot to evaluate on; by default where the run has practised.
        policy: URL of a policy server, evaluated besides, see `lotj.robots.policy_server`.
        recover: on connectors the learned policies are helped where they are stuck, see `Recovery`.
        bench: of a run of several robots, the one whose part and domain are evaluated on, from 1; those of another than
            the first leave ``evaluation-<bench>.json`` and no films.

    Raises:
        SettingsError: an unknown controller, or one that is not for this task.
        CheckpointError: a model that one of them needs is missing.
    """
    insertion, pretrained = run.self_judged, pretraining_of(run) if run.setting("pretrain_run") else None
    reward = load_reward(pretrained, device) if insertion and pretrained else None
    env = _where(run, reward.shape[2] if reward else 0, robot, bench)
    spec = spec_of(env)
    recover = recover and insertion and "state" in spec.observation
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trials)
    how: dict[str, Any] = {"max_steps": spec.max_steps, "rate_hz": spec.rate_hz / (1 + _delay(run))}
    how["context"] = {**_where_words(run, bench, recover), "spread": spread}
    results, films, films_file = [], {}, run.path / "filmstrips.npz"
    file = run.path / ("evaluation.json" if bench == 1 else f"evaluation-{bench}.json")
    for earlier, read in ((file, read_evaluations), (films_file, load_filmstrips)):  # damage is told of before a trial
        if earlier.exists():
            read(earlier)
    with closing(env), timed(run, "evaluate"):
        served = _served(policy, run, env)
        known = _entrants(run, pretrained, env, device, spread, after, recover) | served
        # All are made before the first trial, so that a model that is missing is told of at once.
        made = {name: known[name]() for name in (*choose_entrants(controllers, known), *served)}
        for name, controller in made.items():
            how["film"] = bool(reward) and name in _WHEN
            how["on_trial"] = lambda trial, success, name=name: on_trial(name, trial + 1, trials)
            results.append(evaluate(env, controller, seeds, name=name, **how))
            add_evaluation(file, results[-1])
            if isinstance(controller, RemotePolicy):
                controller.close()
            if name in _WHEN and (film := _film(env, controller, results[-1], reward)):
                films[_WHEN[name]] = film
        if films and bench == 1:
            save_filmstrips(films_file, (load_filmstrips(films_file) if films_file.exists() else {}) | films)
    return results


def _where_words(run: Run, bench: int, recover: bool) -> dict[str, Any]:
    """What a result says of the task or bench that it was evaluated on."""
    if not run.self_judged:
        return {"task": run.setting("task")}
    words = {key: run.setting(key) for key in ("task", "connector", "scenario", "robot", "domain")}
    if bench > 1:
        part, arm, seed, _ = bench_of(run, bench)
        name = find_connector(part).name
        words |= {"task": INSERTION + name, "connector": name, "robot": arm, "domain": f"{name}.{arm}.{seed}"}
    return words | {"recover": recover}


def _delay(run: Run) -> int:
    """Steps that the run's robot is late."""
    return run.config.get("delay", 0)


def _where(run: Run, image_size: int, robot: str, bench: int) -> Any:
    """The environment of an evaluation: the run's task here, or the robot at an address."""
    if bench > 1 and not image_size:
        raise SettingsError(f"bench {bench}: is of robots on connectors, this run practised on {run.setting('task')}")
    on = bench_of(run, bench) if image_size else None
    robot = robot or (on[1] if on and is_address(on[1]) else "")
    if not robot:
        insertion = InsertionEnv(*on, image_size=image_size, observation=("image", "state")) if on else None
        bare: Any = insertion or make_task(run.setting("task"))
        return Settled(lambda: disturbed(bare, run.config.get("disturbance", ""), run.seed), _delay(run))
    if on is None:
        raise SettingsError(f"robot {robot}: is for connectors, this run practised on {run.setting('task')}")
    source, _, domain_seed, scenario = on
    setup = Setup(EVALUATION, connector_text(source).decode(), domain_seed, scenario, image_size)
    return WitnessedEnv(RemoteRobot(robot, setup), find_connector(source))


def choose_entrants(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Those of the controllers `known` in a run that are asked for; none: what is usual on a connector, elsewhere all.

    Raises:
        SettingsError: one is unknown, or not for this task or run.
    """
    for name in names:
        if name not in LABELS:
            raise unknown("controller", name, LABELS)
        if name not in known:
            raise SettingsError(f"controller {name!r} is not for this run: there are {', '.join(known)}")
    return tuple(names) or (USUAL if set(USUAL) <= set(known) else tuple(known))


def _entrants(
    run: Run, pretrained: Run | None, env: Any, device: str, spread: float, after: int | None, recover: bool
) -> dict[str, Callable[[], Controller]]:
    """What can be evaluated in a run: name -> what makes it. The expert is told the truth, to compare with; hand-made
    baselines know the part's dimensions, as an engineer does, and the size of an action."""
    task, agent = run.setting("task"), run.setting("agent")

    def localizer() -> Localizer:
        assert pretrained  # no connector is practised on without
        return load_localizer(pretrained, device)

    def policy(learner: Learner) -> Controller:
        before = Located(localizer()).encode if pretrained and agent == STATE_IQL else None
        acts = PolicyController(learner, spread, before)
        return Recovery(acts, env.get_wrapper_attr("action_scale")) if recover else acts

    made: dict[str, Callable[[], Controller]] = {}
    if pretrained:
        made["offline"] = lambda: policy(load_agent(pretrained, device, agent))
    made["practice"] = lambda: policy(practised_agent(run, device, after))
    # Who learns from pictures alone is not compared with an expert that reads states.
    if find_task(task)[0].expert and (task.startswith(INSERTION) or not unseen_by(expert_of(task, env), env)):
        made[EXPERT] = lambda: expert_of(task, env)
    if task.startswith(INSERTION):
        part, scale = env.unwrapped.part, env.unwrapped.action_scale
        capture = part.capture_range
        searches: dict[str, Callable[[], Controller]] = {
            "straight-down": StraightDown,
            "random-search": lambda: RandomSearch(NEAR_BOX, scale),
            "spiral-search": lambda: SpiralSearch(2 * capture, scale),
        }
        made |= {"localize": lambda: Localize(localizer().locate, scale, part.contact_height), **searches}
        for name, search in searches.items():
            made[f"localize-{name}"] = lambda search=search: LocalizeFirst(localizer().locate, search(), scale)
    return made


def _served(policy: str, run: Run, env: Any) -> dict[str, Callable[[], Controller]]:
    """What a policy server makes, where there is one."""
    prompt = f"insert the {run.config.get('connector_title', 'part')}" if run.self_judged else run.setting("task")
    return {REMOTE: lambda: RemotePolicy(policy, spec_of(env).action, prompt)} if policy else {}


def _film(env: Any, controller: Controller, result: EvaluationResult, reward: RewardModel | None) -> FilmStrip | None:
    """The first trial of a learned policy: of a robot that judges itself what it and its reward saw, else see
    `_played_again`."""
    if reward is None:
        return _played_again(env, controller, result)
    acts: Any = controller.controller if isinstance(controller, Recovery) else controller
    return _judged(result, acts.agent, reward)


def _judged(result: EvaluationResult, agent: Learner, reward: RewardModel) -> FilmStrip:
    """The first evaluation trial with the reward's scores and Grad-CAM of reward and policy."""
    frames = result.film
    assert frames is not None
    return FilmStrip(
        frames=frames,
        scores=reward.score(frames),
        reward_heat=reward_heat(reward, frames),
        policy_heat=policy_heat(agent, frames) if "image" in agent.reads else None,
        success=bool(result.success[0]),
        seed=int(result.seed[0]),
    )


def _played_again(env: Any, controller: Controller, result: EvaluationResult) -> FilmStrip | None:
    """The first trial once more, for as many pictures as a report shows; None where nothing can be drawn. Equal seeds
    are equal episodes, and who learns from states needs no renderer."""
    seed, steps = int(result.seed[0]), int(result.steps[0])
    shown, frames, number = spread(steps + 1, FRAMES), [], itertools.count()

    def keep(info: Mapping[str, Any]) -> None:
        if next(number) in shown:
            frames.append(env.render())

    try:
        rollout(env, controller, seed, task=result.name, kind="film", max_steps=steps, on_step=keep)
        return FilmStrip(np.stack(frames)[:, None], None, None, None, bool(result.success[0]), seed, shown)
    except Exception as error:  # drawing by others raises whatever it likes where there is no renderer
        logging.getLogger(__name__).info("no film of %s: %s", result.name, error)
        return None


def reward_heat(model: RewardModel, frames: np.ndarray) -> np.ndarray:
    """Grad-CAM of what speaks for success in (N, V, H, W, 3) uint8 images: (N, V, H, W) in [0, 1]."""
    network, images = model.classifier, model.config.front.bring({"image": frames}, model.device)["image"]
    return gradcam(network.encoder.resnet.saliency_stage, images, network)


def policy_heat(agent: Learner, frames: np.ndarray) -> np.ndarray:
    """Grad-CAM of what pushes an agent's mean action towards +Y in such images."""
    policy, images = agent.algorithm, agent.front.bring({"image": frames}, agent.device)["image"]
    encoder = agent.encoders.get("policy") or next(iter(agent.encoders.values()))
    assert isinstance(encoder, PixelEncoder)
    return gradcam(encoder.resnet.saliency_stage, images, lambda seen: policy({"image": seen})[:, 1])
