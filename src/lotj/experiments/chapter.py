"""The chapters that *Learning on the Job* grew from, as data: ways to learn a task, side by side, and what was claimed.

A chapter has problems (a task with prior data), a problem has arms (ways to learn it), an arm has seeds. Each (problem,
arm, seed) is one job, whose result is a learning curve. Claims are judged on the curves, by rules written before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from lotj.data.pictures import figure_svg
from lotj.distributed import Job
from lotj.envs.registry import folder_name
from lotj.experiments.chapter_jobs import FURTHER, LINES, PLAYERS, again_job, best_job, collect_job, learn_job, line_job
from lotj.experiments.claims import Claim, Curves, area_under, success_rate
from lotj.experiments.study import Asked, page
from lotj.experiments.tables import markdown, mean_words

AFTER_PRETRAINING = {"lr": 1e-4}
"""Settings of practice for an agent that has learnt before: pretraining ends at a learning rate of 0, and at the usual
1e-3 the first trial's updates undo it (docs/lab-notes/chapters.md)."""


@dataclass(frozen=True)
class Arm:
    """One way to learn a problem.

    Attributes:
        title: for people; unique in its problem.
        agent: who learns; or one of `LINES` or `FURTHER`, who do not.
        settings: of the agent, where they are not the preset's.
        options: of the task, after those of the problem: ``residual=0.3``.
        corrects: title of an arm of the problem: the residual corrects the policy of its first seed, not the expert.
        begins: title of an arm of the problem: practice begins from what its first seed has learnt.
        again: title of an arm of the problem: its policies are tried on this arm's task, and nothing is learnt.
        online: settings of the agent that change when practice begins.
        practice: settings of practice, where they are not the problem's.
        data: name of the problem's prior data; "" has none.
        updates: share of the problem's updates on these before practice.
        share: of prior data in a batch, in practice. By default about what there is, as in IQL and AWAC:
            with half a batch from few episodes a policy forgets what it could (docs/lab-notes/chapters.md).
        trials: share of the problem's trials of practice; 0 learns nothing online.
    """

    title: str
    agent: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    online: Mapping[str, Any] = field(default_factory=dict)
    practice: Mapping[str, Any] = field(default_factory=dict)
    options: str = ""
    corrects: str = ""
    begins: str = ""
    again: str = ""
    data: str = "data"
    updates: float = 1.0
    share: float = 0.9
    trials: float = 1.0

    @property
    def learns(self) -> bool:
        """Whether it is no line beside the others."""
        return self.agent not in {**LINES, **FURTHER} and not self.again


@dataclass(frozen=True)
class Problem:
    """A task, its prior data, and the arms that learn it.

    Attributes:
        name: in names of jobs.
        task: with its options.
        data: name -> settings of `TaskCollection` besides the task's name, and ``options`` of the task; a ``policy`` or
            ``demonstrator`` is the title of an arm, whose first seed plays. Or the best ``share`` of other data, by the
            name ``of`` these.
        arms: side by side.
        updates, trials: before practice; of practice.
        points: shares of the trials after which the policy is tried, besides before and at the end.
        practice: settings of practice, where they are not the preset's.
        full: title of the arm whose reward is 100 % where there is no success, random actions being 0 (D4RL's score).
    """

    name: str
    task: str
    data: Mapping[str, Mapping[str, Any]]
    arms: Sequence[Arm]
    updates: int = 0
    trials: int = 0
    points: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    practice: Mapping[str, Any] = field(default_factory=dict)
    full: str = ""

    def with_options(self, options: str) -> str:
        """The task's name with further options."""
        return f"{self.task},{options}" if options else self.task

    def arm(self, title: str) -> Arm:
        """The arm of a title."""
        return next(arm for arm in self.arms if arm.title == title)

    def practised(self, arm: Arm, size: Size) -> tuple[int, list[int]]:
        """An arm's trials of practice, and those after which it is tried besides the last."""
        trials = round(size.share * arm.trials * self.trials)
        return trials, sorted({round(share * trials) for share in self.points} - {0, trials}) if trials else []

    def seeds(self, arm: Arm, size: Size) -> range:
        """Of an arm: the first alone where it only plays what others learn from."""
        players = {settings.get(of) for settings in self.data.values() for of in PLAYERS}
        players |= {title for arm in self.arms for title in (arm.corrects, arm.begins)}
        return range(1 if arm.title in players else size.seeds)


@dataclass(frozen=True)
class Size:
    """How much of a chapter is done: share of a problem's updates and trials and, up to 1, of large prior data; seeds
    of each arm; evaluation trials before practice and at its end, and at the points between, which are many."""

    share: float = 1.0
    seeds: int = 3
    evaluation_trials: int = 100
    point_trials: int = 25


MANY = 200
"""Episodes of prior data from which on a smaller size records fewer."""

ENOUGH = 3
"""Seeds from which on a verdict is said without their number."""

SIZES = {"quick": Size(0.1, 1, 20, 20), "laptop": Size(), "full": Size(4.0, 10, 100, 100)}
"""By name."""


@dataclass(frozen=True)
class Chapter:
    """A study for `lotj reproduce`: its problems and claims; see `Comparison`."""

    name: str
    title: str
    problems: Sequence[Problem]
    claims: Sequence[Claim]
    sizes: ClassVar[Mapping[str, Size]] = SIZES
    size: Size = SIZES["laptop"]
    all_points: bool = False
    """Whether each point of a curve is of as many episodes as its ends."""

    @property
    def cells(self) -> str:
        """Folder of its jobs' results."""
        return self.name

    def asked(self, asked: Asked) -> Chapter:
        """The chapter in the size asked for; SettingsError for what it does not know."""
        asked.refuse_choices(self.name)
        return replace(self, size=self.sizes[asked.preset])

    def jobs(self, asked: Asked) -> list[Job]:
        """All that must be done for it."""
        made: list[Job] = []
        for problem in self.problems:
            made += self._prepare(asked, problem)
            for arm in problem.arms:
                made += [self._job(asked, problem, arm, seed) for seed in problem.seeds(arm, self.size)]
        return seed_by_seed(made)

    def _prepare(self, asked: Asked, problem: Problem) -> list[Job]:
        """What all arms of a problem need."""
        return [self._data_job(asked, problem, name) for name in problem.data]

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """Name -> content of its page and figures."""
        curves = self.curves(results)
        parts = [self.verdicts(curves), *(self._table(problem, curves) for problem in self.problems)]
        drawn = {f"{problem.name}.svg": draw_curves(problem, curves) for problem in self.problems}
        return {"table.md": page(self.title, parts, results)} | {name: svg for name, svg in drawn.items() if svg}

    def verdicts(self, curves: Curves) -> str:
        """What curves say of the claims."""
        told = [(claim.text, *claim.rule(curves)) for claim in self.claims]
        seeds = self._seeds_done(curves)
        few = f" (seeds: {seeds})" if seeds < ENOUGH else ""
        rows = [[text, VERDICTS[met] + few, why] for text, met, why in told]
        return "## Claims\n\n" + markdown(["claim", "here", "figures"], rows)

    def _seeds_done(self, curves: Curves) -> int:
        """The fewest of an arm that has begun, but for those whose first alone is needed."""
        arms = [(problem, arm) for problem in self.problems for arm in problem.arms]
        done = [len(curves.get((problem.name, arm.title), ())) for problem, arm in arms
                if len(problem.seeds(arm, self.size)) == self.size.seeds]  # fmt: skip
        return min(filter(None, done), default=self.size.seeds)

    def curves(self, results: Mapping[str, Any]) -> Curves:
        """The results by problem and arm; of a problem with a `full` arm scored, and none before that can be."""
        found: dict[tuple[str, str], Sequence[Mapping[str, Any]]] = {}
        for problem in self.problems:
            of = {arm.title: [{**results[name], "seed": seed} for seed in problem.seeds(arm, self.size)
                              if (name := job_name(problem, arm, seed)) in results]
                  for arm in problem.arms}  # fmt: skip
            if problem.full:
                none, most = (float(np.mean([one["curve"][-1]["reward"] for one in of[title]] or [np.nan]))
                              for title in ("random", problem.full))  # fmt: skip
                of = {title: scored(done, none, most) for title, done in of.items()}
            found |= {(problem.name, title): done for title, done in of.items()}
        return found

    def _data_job(self, asked: Asked, problem: Problem, name: str) -> Job:
        """Records prior data of a problem, or chooses them from others."""
        root, settings, name = asked.runs / self.name, dict(problem.data[name]), f"{problem.name}-{name}"
        if "of" in settings:
            whole = f"{problem.name}-{settings['of']}"
            given = {"data": str(root / whole), "share": settings["share"]}
            return Job.in_folder(root, name, best_job, given, (whole,))
        needs = {of: job_name(problem, problem.arm(settings[of]), 0) for of in PLAYERS if settings.get(of)}
        settings |= {of: str(root / need) for of, need in needs.items()}
        if settings["count"] >= MANY:  # demonstrations are few, and stay as many
            settings["count"] = round(min(1.0, self.size.share) * settings["count"])
        task = problem.with_options(settings.pop("options", ""))
        return Job.in_folder(root, name, collect_job, {"task": task, **settings}, needs.values())

    def _job(self, asked: Asked, problem: Problem, arm: Arm, seed: int) -> Job:
        name, size, root = job_name(problem, arm, seed), self.size, asked.runs / self.name
        task = problem.with_options(arm.options)
        tried = {"task": task, "evaluated": task, "seed": seed, "evaluation_trials": size.evaluation_trials}
        if arm.again:
            needs = (job_name(problem, problem.arm(arm.again), seed),)
            return Job(name, again_job, tried | {"practised": str(root / needs[0])}, needs)
        if not arm.learns:
            return Job(name, line_job, tried | {"controller": arm.agent})
        (trials, points), needs = problem.practised(arm, size), ()
        arguments: dict[str, Any] = tried | {
            "agent": arm.agent, "settings": dict(arm.settings), "share": arm.share, "trials": trials, "points": points,
            "updates": round(size.share * arm.updates * problem.updates), "online": dict(arm.online),
            "practice": {**problem.practice, **arm.practice}, "data": "",
        }  # fmt: skip
        if not self.all_points:
            arguments["point_trials"] = size.point_trials
        if arm.data:
            needs = (f"{problem.name}-{arm.data}",)
            arguments["data"] = str(root / needs[0] / "data")
        for what, title in (("corrects", arm.corrects), ("begins", arm.begins)):
            if title:
                needs = (*needs, base := job_name(problem, problem.arm(title), 0))
                arguments[what] = str(root / base)
        return Job.in_folder(root, name, learn_job, arguments, needs, asked.machine)

    def _table(self, problem: Problem, curves: Curves) -> str:
        """What the arms of a problem reach."""
        rows = []
        for arm in problem.arms:
            if done := curves[problem.name, arm.title]:
                first, last = ([one["curve"][place] for one in done] for place in (0, -1))
                rates = [[success_rate(at) for at in points] for points in (first, last)]
                area = [area_under(one["curve"]) for one in done]
                steps = str(round(np.mean([at["steps"] for at in last])))
                rows.append([arm.title, str(len(done)), *map(mean_words, [*rates, area]), steps])
        what = "score" if problem.full else "% success"
        head = ["arm", "seeds", f"{what} before practice", "at the end", "on average over practice", "steps"]
        return f"## {problem.name}: `{problem.task}`\n\n" + markdown(head, rows)


VERDICTS = {True: "agrees", False: "does not agree", None: "cannot tell"}
"""What is said of a claim."""


def overview(chapters: Mapping[str, Chapter], out: Path) -> str:
    """A row for each chapter: what its page in the folder `out` says of its claims, and of how many seeds."""
    rows = []
    for name, chapter in chapters.items():
        file = out / name / "table.md"
        page = file.read_text(encoding="utf-8") if file.exists() else ""
        claims = page.partition("## Claims\n")[2].partition("\n## ")[0]
        said = [line.split("|")[2].strip() for line in claims.splitlines() if line.startswith("| ")][1:]
        counts = [str(sum(one.startswith(word) for one in said)) for word in VERDICTS.values()]
        few = re.search(r"\(seeds: (\d+)\)", claims)
        seeds = few[1] if few else f"{ENOUGH} or more"
        rows.append([f"`{name}`", chapter.title, *([*counts, seeds] if said else ["not run yet", "", "", ""])])
    return "# Chapters\n\n" + markdown(["chapter", "title", *VERDICTS.values(), "seeds"], rows)


def seed_by_seed(jobs: Sequence[Job]) -> list[Job]:
    """The jobs of the first seed, then those of the second: where they are stopped, all arms have the same seeds."""
    return sorted(jobs, key=lambda job: job.arguments.get("seed", 0))


def job_name(problem: Problem, arm: Arm, seed: int) -> str:
    """Name of an arm's job."""
    return f"{problem.name}-{folder_name(arm.title.lower())}-{seed}"


def scored(done: Sequence[Mapping[str, Any]], none: float, full: float) -> list[dict[str, Any]]:
    """Results whose points have a ``score``: 0 for the reward `none`, 100 for `full`; no results where one is NaN."""
    if not np.isfinite(full - none):
        return []
    return [
        {**one, "curve": [{**at, "score": 100.0 * (at["reward"] - none) / (full - none)} for at in one["curve"]]}
        for one in done
    ]


def draw_curves(problem: Problem, curves: Curves) -> bytes:
    """Success over steps, mean of the seeds with a band of their least and most, as SVG; lines of those who do not
    learn go all the way. Nothing where no arm practises yet."""
    done = [(arm, of) for arm in problem.arms if (of := curves[problem.name, arm.title])]
    if not any(one["curve"][-1]["steps"] for _, of in done for one in of):
        return b""
    figure = Figure((7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for arm, of in done:
        rates = np.array([[success_rate(at) for at in one["curve"]] for one in of])
        if arm.again:
            continue  # on another task
        if not arm.learns or len(rates[0]) == 1:
            axes.axhline(rates.mean(), color="0.6", linestyle=":", label=arm.title)
            continue
        steps = np.mean([[at["steps"] for at in one["curve"]] for one in of], axis=0)
        (line,) = axes.plot(steps, rates.mean(0), label=arm.title)
        axes.fill_between(steps, rates.min(0), rates.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
    what = {"ylabel": "score"} if problem.full else {"ylabel": "% success", "ylim": (-2, 102)}
    axes.set(xlabel="steps of the environment in practice", title=problem.task, **what)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure_svg(figure)
