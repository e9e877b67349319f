"""Comparisons of practice as data: the headline, the blind run, and tables I to III of *Learning on the Job*."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lotj.distributed import Job
from lotj.errors import SettingsError, unknown
from lotj.evaluation.truth import TRUTH
from lotj.experiments import headline
from lotj.experiments.headline import Practised, draw_judge
from lotj.experiments.parts import of_split
from lotj.experiments.presets import PAPER_PRACTICE, find_preset
from lotj.experiments.state_iql import STATE_IQL
from lotj.experiments.study import (
    BASE,
    OWN_DATA,
    Asked,
    baselines_name,
    page,
    practice_job,
    practice_settings,
    pretrain_name,
    trainings,
    with_needs,
)
from lotj.experiments.tables import NOTE, Cell, SuccessTable

CONNECTORS = {"deutsch-dt-12": "DT12-1", "mega-brick-1x1": "Mega 1x1", "nema-5-15": "NEMA 15", "europlug": "Europlug"}
"""The test connectors, and what the paper's tables call them."""

OF_BASE = ("laptop", "ours", 0)
"""Preset, variant and seed of the pretraining that comes with lotj."""

SLOW = ("as-3112", "wall-charger")
"""The two validation connectors on which the pretrained policy succeeds least (lab notes)."""

ROBOTS = ("duo", "trio")
PRETRAININGS = 2
"""Seeds 0 and 1."""

PAPER = "paper"
"""Folder of the results that the paper's tables and figures share."""


@dataclass(frozen=True)
class Unit:
    """What one count of a table is of, and what intervals and tests are over: a pretraining on a bench.

    Attributes:
        pretraining: its seed.
        robot, bench: its robot; what is randomized, the seed of the connector's domain.
    """

    pretraining: int
    robot: str
    bench: int = 0

    @property
    def seed(self) -> int:
        """Of practice, which draws starts and how wrong the socket's position is estimated: another for each unit."""
        return self.pretraining + 100 * self.bench

    def __str__(self) -> str:
        return f"{self.pretraining}-{self.robot}-{self.bench}"


def units(benches: Iterable[int], robots: Iterable[str] = ROBOTS, pretrainings: int = PRETRAININGS) -> tuple[Unit, ...]:
    """Each bench with each robot. The pretrainings are spread like the colours of a chessboard: each is half of all
    units, half of each robot's and half of each bench's (as near as may be), so that neither robot nor bench nor
    pretraining is taken for another, at no more units than there are benches."""
    pairs = itertools.product(benches, enumerate(robots))
    return tuple(Unit((bench + place) % pretrainings, robot, bench) for bench, (place, robot) in pairs)


OURS = "ours"

PRACTICES: dict[str, dict[str, Any]] = {
    OURS: {},
    "without-exploration-boost": {"boost": False},
    "without-reversed-extractions": {"withdrawals": 0},
    "without-retention": {"retention": False},
    "failures-imitated-too": {"imitate": "all"},
    "imitation-alone": {"q_gradient_weight": 0.0},
    "without-verification": {"verify": "score"},
    "25-percent-online": {"online_fraction": 0.25},
    "50-percent-online": {"online_fraction": 0.5},
    "advantage-scale-20": {"advantage_scale": 20.0},
    "1-update-a-step": {"updates_per_step": 1},
    "4-updates-a-step": {"updates_per_step": 4},
    PAPER: PAPER_PRACTICE,
}
"""Practice settings that are not the preset's: none, one part changed, the paper's protocol (LOTJ section V-C)."""

CHANGES: dict[str, dict[str, Any]] = PRACTICES | {
    TRUTH: PAPER_PRACTICE,
    "paper-touch": {**PAPER_PRACTICE, "verify": "touch"},
    "picture": {"verify": "picture"},
    "warm-up-of-1": {"warmup_trials": 1},
    "20-reversed-extractions": {"withdrawals": 20},
    "90-percent-online": {"online_fraction": 0.9},
}
"""These, and others that single studies ask about: the paper's, told the truth or verified by touch; ours, verified by
picture; what may need fewer trials."""


@dataclass(frozen=True)
class Method:
    """A column: who practises, and which of the evaluations it shows.

    Attributes:
        title: of the column; ``{}`` stands for the trials of practice.
        agent: who practises, as in `lotj practice --agent`.
        controller: what is counted, as in `lotj evaluate --controllers`.
        paper: the paper's successes of 20 on each of `CONNECTORS`; None for a method that it does not have.
        variant, practice: how it was pretrained and practises, of `VARIANTS` and `PRACTICES`.
        stage: of ``practice``: after which of the comparison's numbers of trials, counted from the end.
    """

    title: str
    agent: str = "iql"
    controller: str = "practice"
    paper: tuple[int, ...] | None = None
    variant: str = "full"
    practice: str = PAPER
    stage: int = -1

    @property
    def learner(self) -> tuple[str, str, str]:
        """What its job depends on."""
        return self.agent, self.variant, self.practice


def _ours(title: str, controller: str = "practice", stage: int = -1, variant: str = OURS) -> Method:
    return Method(title, "iql", controller, None, variant, OURS, stage)


def _curve(variant: str = OURS) -> tuple[Method, ...]:
    return (
        _ours("before", "offline", variant=variant),
        *(_ours("after {}", stage=stage, variant=variant) for stage in (-3, -2, -1)),
    )


CURVE = _curve()
"""Our practice as it goes on."""

_LAST = (
    _ours("LOTJ, our practice", variant="full"),
    _ours("ours offline", "offline"),
    _ours("ours after {}", stage=-2),
    _ours("ours online"),
)

_TABLES = (
    ("Localize", "iql", "localize", "localize", (3, 3, 0, 6), (0, 0, 0, 0)),
    ("Straight down", "iql", "straight-down", "localize-straight-down", (1, 1, 1, 4), (0, 1, 0, 0)),
    ("Random search", "iql", "random-search", "localize-random-search", (7, 1, 0, 6), (0, 0, 0, 0)),
    ("Spiral search", "iql", "spiral-search", "localize-spiral-search", (4, 15, 3, 4), (0, 17, 0, 0)),
    ("SAC offline", "sac", "offline", "offline", (0, 0, 0, 0), (0, 0, 0, 0)),
    ("SAC online", "sac", "practice", "practice", (0, 0, 0, 0), (0, 0, 0, 0)),
    ("State-IQL offline", STATE_IQL, "offline", "offline", (5, 0, 4, 6), (0, 0, 3, 0)),
    ("State-IQL online", STATE_IQL, "practice", "practice", (5, 2, 1, 4), (3, 11, 1, 5)),
    ("LOTJ offline", "iql", "offline", "offline", (7, 5, 11, 10), (5, 0, 6, 2)),
    ("LOTJ online", "iql", "practice", "practice", (19, 16, 15, 15), (18, 20, 17, 15)),
)
"""Tables I and II: title, agent, controller near and far (where searches start from what a model says), the paper's
counts near and far."""

NEAR = (*(Method(title, agent, near, paper) for title, agent, near, _, paper, _ in _TABLES), *_LAST)
FAR = (*(Method(title, agent, far, paper) for title, agent, _, far, _, paper in _TABLES), *_LAST)

ABLATION = (
    Method("no DAIB offline", "iql", "offline", (0, 3, 0, 0), "no-daib"),
    Method("no DAIB online", "iql", "practice", (5, 0, 0, 15), "no-daib"),
    Method("DAIB reward offline", "iql", "offline", (4, 3, 0, 1), "daib-reward"),
    Method("DAIB reward online", "iql", "practice", (0, 20, 2, 12), "daib-reward"),
    Method("full offline", "iql", "offline", (0, 0, 6, 2)),
    Method("full online", "iql", "practice", (18, 20, 17, 15)),
)
"""Table III: what the bottleneck of reward and policy is worth, far."""

PARTS = tuple(Method(name.replace("-", " "), variant=OURS, practice=name) for name in PRACTICES)
"""What each part of our practice adds."""


@dataclass(frozen=True)
class Comparison:
    """A table of practices, and what must be done for it; other studies have its `cells`, `asked`, `jobs` and `files`.

    Attributes:
        name, title: as a command names it; for people.
        scenarios: where trials start.
        methods: the columns.
        connectors: the rows; none: those of its `split`, or where that is empty of the split of its name.
        benches, trials: see `lotj reproduce --help`.
        robots: of each bench.
        pretrainings: how many, where all do not begin from the base.
        cells: folder of its jobs' results; studies that share jobs have one.
        from_base: of our pretrainings that of seed 0 is the one that comes with lotj, which is not made anew; only at
            the size it was made at.
        sections: what its page has below the table, of all practices of the last method that are done.
        beside: the same, of method -> its practices.
    """

    name: str
    title: str
    scenarios: tuple[str, ...]
    methods: tuple[Method, ...]
    connectors: tuple[str, ...] = tuple(CONNECTORS)
    benches: tuple[int, ...] = (0,)
    trials: tuple[int, ...] = (100, 200)
    robots: tuple[str, ...] = ROBOTS
    pretrainings: int = PRETRAININGS
    split: str = ""
    cells: str = PAPER
    from_base: bool = False
    sections: tuple[Callable[[Sequence[Practised]], str], ...] = ()
    beside: Callable[[Mapping[str, Sequence[Practised]]], str] | None = None

    def asked(self, asked: Asked) -> Comparison:
        """The study of what is asked, where that is not what is usual; SettingsError for a practice that is unknown, or
        not to be chosen here."""
        if asked.practice and asked.practice not in PRACTICES:
            raise unknown("practice", asked.practice, PRACTICES)
        if asked.practice and self.name != "validation":
            raise SettingsError(f"practice {asked.practice}: is chosen on validation connectors, by `validation` alone")
        trials = asked.trials or self.trials
        methods = tuple(
            replace(method, title=method.title.format(trials[method.stage]), practice=asked.practice or method.practice)
            for method in self.methods
            if -method.stage <= len(trials)
        )
        connectors = (
            asked.connectors or self.connectors or of_split(self.split or self.name, opened=self.name == "blind")
        )
        chosen = {"methods": methods, "connectors": connectors, "benches": asked.benches or self.benches}
        return replace(self, **chosen, trials=trials)

    def jobs(self, asked: Asked) -> list[Job]:
        """All that must be done for it."""
        learners = dict.fromkeys(method.learner for method in self.methods)
        of = itertools.product(learners, self._units, self._starts.values())
        made = [self._job(asked, unit, *start, learner) for learner, unit, start in of]
        return with_needs(made, trainings(self.pretrainings, asked))

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """Name -> content of its files, made of results of its jobs and of nothing else."""
        table, done = self.table(results), self.practised(results)
        parts = [table.as_markdown(), NOTE, *(section(done) for section in self.sections)]
        if self.beside:
            parts.append(self.beside({m.title: self.practised(results, m.learner) for m in self.methods}))
        parts.append("## By unit\n\n" + table.by_unit())
        practice = self.methods[-1].practice
        variant = "" if self.beside or self.cells == PAPER or practice == OURS else f"-{practice}"
        judged = dict.fromkeys(m.learner for m in self.methods if m.practice != TRUTH) if self.beside else []
        shown = [of for learner in judged for of in self.practised(results, learner)] or done
        drawn = {f"judge{variant}.svg": draw_judge(shown)} if (self.sections or self.beside) and shown else {}
        return {f"table{variant}.md": page(self.title, parts, results), **drawn}

    def table(self, results: Mapping[str, Any]) -> SuccessTable:
        """The table of what is done; cells without a result are empty."""
        rows: dict[str, list[Cell | None]] = {start: [] for start in self._starts}
        for method in self.methods:
            done, shown = self.practised(results, method.learner), method.controller
            for start, (_, connector) in self._starts.items():
                of = {unit.unit: unit.outcome(method.stage if shown == "practice" else shown)
                      for unit in done if unit.start == start}  # fmt: skip
                paper = dict(zip(CONNECTORS, method.paper, strict=True)).get(connector) if method.paper else None
                counts = {unit: (outcome["successes"], outcome["n"]) for unit, outcome in of.items()}
                rows[start].append(Cell(counts, paper) if counts else None)
        return SuccessTable([method.title for method in self.methods], rows)

    def practised(self, results: Mapping[str, Any], learner: tuple[str, str, str] | None = None) -> list[Practised]:
        """All practices of a learner that are done; by default of the last method's."""
        return [
            Practised(name, str(unit), self.trials, results[job])
            for (name, start), unit in itertools.product(self._starts.items(), self._units)
            if (job := job_name(*start, learner or self.methods[-1].learner, unit)) in results
        ]

    @property
    def _units(self) -> tuple[Unit, ...]:
        """Where all begin from the one pretraining that comes with lotj, units differ by bench and robot alone."""
        known = 1 if all(method.variant == BASE for method in self.methods) else self.pretrainings
        return units(self.benches, self.robots, known)

    @property
    def _starts(self) -> dict[str, tuple[str, str]]:
        """Row -> scenario and connector."""
        told = len(self.scenarios) > 1 or self.sections
        return {
            CONNECTORS.get(name, name) + (f", {scenario}" if told else ""): (scenario, name)
            for name, scenario in itertools.product(self.connectors, self.scenarios)
        }

    def _job(self, asked: Asked, unit: Unit, scenario: str, connector: str, learner: tuple[str, str, str]) -> Job:
        agent, variant, practice = learner
        name = job_name(scenario, connector, learner, unit)
        # Whichever table asks, a job evaluates what any of those that share it shows.
        alike = [other for other in COMPARISONS.values() if other.cells == self.cells and scenario in other.scenarios]
        shown = [*self.methods, *(method for other in alike for method in other.methods)]
        others = {m.controller for m in shown if m.learner == learner and m.controller != "practice"}
        shipped = self.from_base and (asked.preset, variant, unit.pretraining) == OF_BASE
        from_base = variant == BASE or shipped
        arguments: dict[str, Any] = {
            "preset": asked.preset,
            "pretrained": BASE if from_base else str(asked.runs / pretrain_name(variant, unit.pretraining)),
            "connector": connector,
            "scenario": scenario,
            "robot": unit.robot + OWN_DATA.get(variant, ""),
            "domain_seed": unit.bench,
            "seed": unit.seed,
            "agent": agent,
            "practice": practice_settings(asked.preset, **{**CHANGES[practice], "trials": self.trials[-1]}),
            "trials": list(self.trials),
            "controllers": sorted(others if self.beside or self.cells == PAPER else others | {"expert"}),
            "evaluation_trials": find_preset(asked.preset).evaluation_trials,
        }
        arguments |= {"truth": True} if practice == TRUTH else {}
        learned = agent != "iql" or any("localize" in controller for controller in others)
        need = baselines_name(unit.pretraining) if learned else pretrain_name(variant, unit.pretraining)
        needs = () if from_base else (need,)
        return Job.in_folder(asked.runs / self.cells, name, practice_job, arguments, needs, asked.machine)


def job_name(scenario: str, connector: str, learner: tuple[str, str, str], unit: Unit) -> str:
    """Name of a practice job."""
    return "-".join((scenario, connector, *learner, str(unit)))


_SECTIONS = (headline.targets, headline.robot_time, headline.in_practice)

COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        Comparison(
            "headline", "Practice on the test connectors", ("near", "far"), CURVE,
            benches=(0, 1, 2, 3, 4), trials=(25, 50, 100), cells="headline", from_base=True, sections=_SECTIONS,
        ),
        Comparison(
            "validation", "Practice on the validation connectors", ("far",), CURVE, (),
            trials=(25, 50, 100), cells="validation", from_base=True, sections=_SECTIONS,
        ),
        Comparison(
            "blind", "Practice on the blind connectors", ("far",), CURVE, (),
            trials=(25, 50, 100), cells="blind", sections=(headline.predictions, *_SECTIONS[1:]),
        ),
        Comparison(
            "panda", "Practice with an arm that no training has seen, from the base, on the validation connectors",
            ("far",), _curve(BASE), (), trials=(25, 50, 100), robots=("panda",), split="validation", cells="panda",
            sections=_SECTIONS[1:],
        ),
        Comparison("table1", "Table I: starts within 10 mm of the socket's axis", ("near",), NEAR),
        Comparison("table2", "Table II: starts 10 to 20 mm beside the socket", ("far",), FAR),
        Comparison("table3", "Table III: the bottleneck of reward and policy, 10 to 20 mm beside", ("far",), ABLATION),
        Comparison(
            "parts", "What each part of practice adds, far", ("far",), PARTS, SLOW,
            benches=(0, 1, 2, 3, 4), trials=(50, 100), robots=("trio",), cells="parts", beside=headline.against_first,
        ),
    )
}  # fmt: skip
"""By name."""
