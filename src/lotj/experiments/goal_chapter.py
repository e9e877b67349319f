"""Chapters on goals that are pictures: codes and gates once, an agent offline for each seed, then arms, which differ in
who proposes the goals of practice and in how they are planned for."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.replay import Relabel, Source
from lotj.data.store import DiskStore
from lotj.distributed import Job
from lotj.envs.base import spec_of
from lotj.envs.registry import folder_name, make_task
from lotj.experiments.chapter import Arm, Chapter, Problem, Size, job_name, seed_by_seed
from lotj.experiments.chapter_jobs import LINES, collect_job, line_job, policies, tried
from lotj.experiments.claims import Curves
from lotj.experiments.codes import VQ, Codes, Redrawn, represent_job
from lotj.experiments.evaluation import PolicyController
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import agent_settings
from lotj.experiments.study import Asked, begun
from lotj.experiments.tables import markdown
from lotj.goals.planner import PlanConfig, Pursuit, SubgoalPlanner
from lotj.goals.proposer import Given, GoalProposer, Seen
from lotj.goals.sparse import SparseReward
from lotj.nets.front import Maps
from lotj.runs import Run, find_run
from lotj.training.coded import OWN, CodedStore, Pursued, value_of
from lotj.training.imagined import READS
from lotj.training.practice import finished_trials, practice, trial_seed
from lotj.training.pretrain import load_agent, pretrain_agent
from lotj.training.rewarded import Rewarded

FRONT = Maps(("code", "goal", OWN), shape=(VQ.embedding, VQ.cells, VQ.cells), own=(OWN,))
"""Otherwise than in the papers, whose networks read a flat code and nothing of the robot's own pose."""
SEEN = f"observation=image+{OWN}"
"""Options of a task that learners see."""
EVERY_LINE = tuple(Arm(line, line) for line in (*LINES, "copy", "mean action", "straight"))
"""Who does not learn, ways through a task that are too easy included."""

PATIENCE = 15
"""Steps for a subgoal: as many as lie between two of them. With PTP's 30, in 400, seven would take all of our 150."""
REMEMBERED = {"buffer": 1000, "buffer_after": 8}
"""Of plans that remember: PTP does from its 32nd on, and our practice has 20."""
SIZES = {"quick": Size(0.12, 1, 8, 4), "laptop": Size(1.0, 3, 34, 10), "full": Size(4.0, 10, 100, 100)}
"""By name; three seeds of a laptop try more than 100 times together."""


@dataclass(frozen=True)
class GoalArm(Arm):
    """An arm whose agent is the chapter's, offline the same for all.

    Attributes:
        goals: who proposes in practice: ``task`` (its own goal), ``pixelcnn``, ``seen`` (frames of the prior data), or
            ``vae`` and ``cc-vae``, whose pictures are encoded.
        plan: one of `lotj.experiments.codes.PLANS`; with "-buffer" behind it earlier plans are remembered.
        planning: settings of planning, where they are not the defaults.
    """

    goals: str = "task"
    plan: str = "none"
    planning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GoalChapter(Chapter):
    """See `Chapter`.

    Attributes:
        task, recipe, count: of the prior data; `held_out` is the task of the gates' episodes, an eighth as many.
        models, model_updates: see `represent_job`.
        agents, updates: who learns offline, for arms of that agent, with its settings; and its updates.
        offline, online: where goals come from.
    """

    sizes = SIZES
    task: str = "table/play"
    recipe: str = "play"
    held_out: str = "table/play,split=test"
    count: int = 2000
    models: tuple[str, ...] = ()
    model_updates: Mapping[str, int] = field(default_factory=dict)
    agents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    updates: int = 25_000
    offline: GoalShares = field(default_factory=GoalShares)
    online: GoalShares = field(default_factory=GoalShares)

    def asked(self, asked: Asked) -> Chapter:
        """As of `Chapter`; the quick size has the first problem alone."""
        made = super().asked(asked)
        return replace(made, problems=made.problems[:1]) if asked.preset == "quick" else made

    def jobs(self, asked: Asked) -> list[Job]:
        """As of `Chapter`; before, prior data, codes and the agents offline, which all problems share."""
        root, share, made = asked.runs / self.name, self.size.share, []
        how: dict[str, Any]
        for name, task, part in (("data", self.task, 1.0), ("held-out", self.held_out, 0.125)):
            count = max(8, round(min(share, 1.0) * part * self.count))
            how = {"task": f"{task},{SEEN}", "recipe": self.recipe, "count": count}
            made.append(Job.in_folder(root, name, collect_job, how))
        how = {"held_out": str(root / "held-out" / "data"), "models": list(self.models)}
        how |= {"updates": {name: max(10, round(share * steps)) for name, steps in self.model_updates.items()}}
        how["data"] = str(root / "data" / "data")
        made.append(Job.in_folder(root, "codes", represent_job, how, ("data", "held-out"), asked.machine))
        for (agent, settings), seed in itertools.product(self.agents.items(), range(self.size.seeds)):
            how = {**_shared(root), "agent": agent, "settings": dict(settings), "seed": seed}
            how |= {"updates": max(10, round(share * self.updates)), "shares": asdict(self.offline)}
            made.append(Job.in_folder(root, f"offline-{agent}-{seed}", offline_job, how, ("codes",), asked.machine))
        return seed_by_seed([*made, *super().jobs(asked)])

    def curves(self, results: Mapping[str, Any]) -> Curves:
        """The results by problem and arm, and the gates as those of ("gates", "codes")."""
        return {**super().curves(results), ("gates", "codes"): [results["codes"]] if "codes" in results else []}

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """As of `Chapter`, with the gates on a page of their own."""
        files = super().files(results)
        if "codes" in results:
            files["gates.md"] = gate_page(results["codes"]).encode()
            files["gates.png"] = base64.b64decode(results["codes"]["picture"])
        return files

    def _job(self, asked: Asked, problem: Problem, arm: Arm, seed: int) -> Job:
        name, size, root = job_name(problem, arm, seed), self.size, asked.runs / self.name
        if not isinstance(arm, GoalArm):  # a line
            how: dict[str, Any] = {"task": problem.task, "evaluated": problem.with_options("observation=state")}
            how |= {"seed": seed, "evaluation_trials": size.evaluation_trials, "controller": arm.agent}
            return Job(name, line_job, how | {"at_end": True})  # as `Pursued` counts it
        trials, points = problem.practised(arm, size)
        offline = f"offline-{arm.agent}-{seed}"
        how = {
            **_shared(root), "agent": arm.agent, "task": problem.with_options(SEEN), "offline": str(root / offline),
            "seed": seed, "goals": arm.goals, "plan": arm.plan, "trials": trials,
            "planning": dict(arm.planning), "points": points, "evaluation_trials": size.evaluation_trials,
            "point_trials": size.point_trials, "shares": asdict(self.online), "offline_shares": asdict(self.offline),
            "settings": {**problem.practice, **arm.practice},
        }  # fmt: skip
        return Job.in_folder(root, name, arm_job, how, (offline,), asked.machine)


def _shared(root: Path) -> dict[str, str]:
    """What those who learn are told of a chapter's folder."""
    return {"codes": str(root / "codes"), "data": str(root / "data" / "data")}


def gate_page(found: Mapping[str, Any]) -> str:
    """The gates as tables, with their picture."""
    reward, rebuilt = found["reward"], found["reconstruction"]
    rows = [
        [name, *(f"{reward[at][name]:.2f}" for at in ("prior", "held_out"))] for name in ("precision", "recall", "auc")
    ]
    told = [
        ["error of held-out pictures, of their variance", f"{rebuilt['all']:.2f}"],
        ["the same over pixels that change", f"{rebuilt['changing']:.2f}"],
        ["rank correlation of distances, codes and things", f"{found['rank']:.2f}"],
        ["eps", f"{found['eps']:.2f}"],
    ]
    parts = [markdown(["gate", "here"], told), markdown(["sparse reward", "prior data", "held out"], rows)]
    points = reward["held_out"]["curve"][::5]
    parts.append(markdown(["eps", "precision", "recall"], [[f"{value:.2f}" for value in point] for point in points]))
    if "valid" in found:
        shares = [[name, f"{share:.2f}"] for name, share in found["valid"].items()]
        parts.append(markdown(["outcomes, to a judge of the state", "share of pictures"], shares))
    made = {**found.get("plans", {}), **({"proposals": found["proposals"]} if "proposals" in found else {})}
    if made:
        head = ["made by", "s each", "decoded and encoded again within eps", "further than eps from the first frame"]
        body = [
            [name, *(f"{of[key]:.2f}" for key in ("seconds", "consistent", "changed"))] for name, of in made.items()
        ]
        parts.append(markdown(head, body))
    return "# Gates before any reinforcement learning\n\n" + "\n".join(parts) + "\n![Pictures](gates.png)\n"


# Jobs


def offline_job(
    codes: str, data: str, agent: str, settings: Mapping[str, Any], updates: int, shares: Mapping[str, float],
    folder: str, seed: int, threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Learns from prior data, on codes; returns means of its last lines of metrics."""
    torch.set_num_threads(threads)
    preset = replace(find_preset("state"), agent=settings)
    config = agent_settings(preset, agent)
    # at the rate of practice: a larger one there would undo what was learnt
    learning = replace(preset.pretrain, steps=updates, lr=config.lr, cosine=False)
    run = begun(Path(folder), "pretrain") or Run.create(Path(folder), "pretrain", {"agent": agent, **settings}, seed)
    made = Codes(find_run(Path(codes), "codes"), device)
    with run:
        store = made.coded(DiskStore.open(Path(data)))
        relabel = _relabel(shares, made, made.known_proposer(store))
        pretrain_agent(
            agent, store, None, FRONT, config, learning, run, device, False, [relabel], observation=(*READS, OWN)
        )
        lines = run.metrics(agent)[-5:]
    return {name: float(np.mean([line[name] for line in lines])) for name in ("loss_q", "q_mean") if name in lines[-1]}


def arm_job(
    codes: str, data: str, agent: str, task: str, offline: str, folder: str, seed: int, goals: str, plan: str,
    planning: Mapping[str, Any], trials: int, points: Sequence[int], evaluation_trials: int,
    point_trials: int, shares: Mapping[str, float], offline_shares: Mapping[str, float], settings: Mapping[str, Any],
    threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Practises in one task from the offline agent, and tries the policy before, after `points`, and at the end, on the
    task's own goal. The encoder and who proposes stay as they are.

    Returns:
        ``curve`` as of `learn_job`, with the share of the subgoals left, if any, that were ``reached`` in their time.
    """
    torch.set_num_threads(threads)
    made, root = Codes(find_run(Path(codes), "codes"), device), Path(folder)
    learner = load_agent(find_run(Path(offline), "pretrain"), device, agent)
    asked = [learner]  # whose values a plan goes by
    config = PlanConfig(**{**(REMEMBERED if plan.endswith("-buffer") else {}), **planning})
    planner = made.planner(plan.removesuffix("-buffer"), config, seed)
    reward, curve = SparseReward(made.eps), []

    def environment(proposer: Any, told: bool) -> Pursued:
        pursuit = Pursuit(planner, lambda s, g: value_of(asked[0])(s, g), made.eps, PATIENCE)
        given = Given(lambda: env.task_goal())
        env = Pursued(make_task(task), made.encoder, proposer or given, reward, pursuit, told)
        return env

    def try_out(learner: Any, trials: int, steps: int) -> None:
        asked[0] = learner
        with closing(environment(None, told=True)) as env:
            tries = point_trials if trials in points else evaluation_trials
            found = tried(env, PolicyController(learner, 0.0), agent, seed, tries)
            left = {} if np.isnan(env.met) else {"reached": env.met}
            curve.append({"trials": trials, "steps": steps, **found, **left})

    try_out(learner, 0, 0)
    if not trials:
        return {"curve": curve}
    planner = made.planner(plan.removesuffix("-buffer"), config, seed)  # to be tried leaves no plans to remember
    store = made.coded(DiskStore.open(Path(data)))
    how = replace(find_preset("state").practice, trials=trials, threads=threads, hindsight=0.0, **settings)
    prior = Source(store, 1.0 - how.online_fraction, None, {"imitate": True})
    prior.relabel = [_relabel(offline_shares, made, made.known_proposer(store))]
    wanted = {"task": task, "agent": agent, "goals": goals, "plan": plan, "planning": dict(planning), "trials": trials}
    wanted |= {"shares": dict(shares), "offline_shares": dict(offline_shares), "settings": dict(settings)}
    left = begun(root, "practice", wanted)
    run = left or Run.create(root, "practice", wanted, seed)
    proposer = proposer_of(goals, made, store, lambda: env.first)  # one: to practise with and to relabel with
    with closing(environment(proposer, told=False)) as env, run:
        if isinstance(proposer, Redrawn):
            for number in range(1, finished_trials(run) + 1):  # who was stopped draws again what was drawn before
                env.reset(seed=trial_seed(run.seed, number))
        relabel = _relabel(shares, made, proposer)
        steps = spec_of(env).max_steps
        how = replace(how, max_steps=steps)
        rest: dict[str, Any] = {"live": False, "resume": left is not None, "snapshots": points}
        done = Rewarded(Planned(env, planner, run), steps, run.seed)
        practice(done, learner, [prior], how, run, folder_name(task), [relabel], **rest)
        for learner, after, taken in policies(run, (*points, trials), device):
            try_out(learner, after, taken)
    return {"curve": curve}


class Planned(gym.Wrapper[dict[str, Any], np.ndarray, dict[str, Any], np.ndarray]):
    """Practice by plans, which depend on those before: kept in the run, so that it can go on where it was stopped.

    Args:
        env: makes a plan as an episode begins.
        planner: whose plans.
        run: of the practice; of one that was begun the planner goes on with the first trial that is not finished.
    """

    def __init__(self, env: gym.Env, planner: SubgoalPlanner, run: Run) -> None:
        super().__init__(env)
        self._planner, self._run = planner, run
        if run.has(KEPT):
            kept, left = run.load(KEPT), trial_seed(run.seed, finished_trials(run) + 1)
            planner.restore(kept["before" if kept["seed"] == left else "after"])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode."""
        before = self._planner.state()
        begun = self.env.reset(seed=seed, options=options)
        self._run.save(KEPT, {"seed": seed, "before": before, "after": self._planner.state()})
        return begun


BANK = 32
"""Draws of each scene that goals are taken from."""

KEPT = "plans"
"""Name of what `Planned` keeps, in the run's folder."""


def proposer_of(goals: str, made: Codes, store: CodedStore, first: Callable[[], np.ndarray]) -> GoalProposer | None:
    """Who proposes, by the name of `GoalArm.goals`; None for the task itself. `first` says the first picture of the
    running episode."""
    if goals == "task":
        return None
    if goals == "seen":
        seen = store.observe(np.random.default_rng(0).integers(store.n_frames, size=4096), ["code"])["code"]
        return Seen(lambda: seen)
    return made.proposer(BANK) if goals == "pixelcnn" else made.redrawn(goals, first, BANK)


def _relabel(shares: Mapping[str, float], made: Codes, proposer: GoalProposer | None) -> Relabel:
    """`choose_goals` with the sparse reward; where nobody proposes, what is a proposer's share is kept."""
    of = GoalShares(**shares)
    if proposer is None:
        of = replace(of, keep=of.keep + of.proposed, proposed=0.0)
        proposer = Seen(lambda: np.zeros((1, made.encoder.size), np.float32))
    return choose_goals(of, proposer.propose, proposer.needs_context, SparseReward(made.eps))
