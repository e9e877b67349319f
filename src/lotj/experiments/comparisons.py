"""Tables I to III of *Learning on the Job*: controllers, learners and ablations on the four test connectors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotj.distributed import Job
from lotj.experiments.presets import PAPER_PRACTICE
from lotj.experiments.state_iql import STATE_IQL
from lotj.experiments.study import HALFWAY, practice_job, practice_settings, pretrain_job
from lotj.experiments.tables import Cell, SuccessTable
from lotj.training.localize import LOCALIZER

CONNECTORS = {"deutsch-dt-12": "DT12-1", "mega-brick-1x1": "Mega 1x1", "nema-5-15": "NEMA 15", "europlug": "Europlug"}
"""The test connectors, and what the paper's tables call them."""

VALIDATION = ("as-3112", "d-sub-da-15", "dc-4-0x1-7", "duplo-2x2")
"""Four of the validation connectors: slow to start, short of its seat, beside its socket, a brick."""

ROBOTS = ("duo", "trio")
"""Robot of each pretraining seed, in turn, where no robots are named: so are the tables of the paper."""


@dataclass(frozen=True)
class Unit:
    """What one count of a table is of, and what intervals and tests are over: a pretraining on a bench.

    Attributes:
        seed: of pretraining and practice.
        robot, bench: its robot; its look and mount, the seed of the connector's domain.
    """

    seed: int
    robot: str
    bench: int = 0

    @property
    def job(self) -> str:
        """How a job's name ends; short for the units of the paper's tables."""
        if (self.robot, self.bench) == (ROBOTS[self.seed % len(ROBOTS)], 0):
            return f"seed{self.seed}"
        return f"seed{self.seed}-{self.robot}-{self.bench}"

    def __str__(self) -> str:
        return f"seed{self.seed}.{self.robot}.{self.bench}"


def units(seeds: Sequence[int], robots: Sequence[str] = (), benches: Sequence[int] = (0,)) -> tuple[Unit, ...]:
    """Each seed on each robot and bench; without robots, each on one of `ROBOTS` in turn, which cannot be told from the
    seed."""
    return tuple(
        Unit(seed, robot, bench)
        for seed in seeds
        for robot in robots or (ROBOTS[seed % len(ROBOTS)],)
        for bench in benches
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "full": {"paper": True},
    "daib-reward": {"paper": True, "policy_variant": "erm"},
    "no-daib": {"paper": True, "reward_variant": "erm", "policy_variant": "erm"},
}
"""Pretrainings: ours, the paper's, and the paper's without the bottleneck of policy or of both (LOTJ, table III)."""

SHARED = {"ours": {"reward": "full"}, "daib-reward": {"reward": "full", "iql": "no-daib"}}
"""Pretrainings that are put together from others' halves: trained alike, reward model and agent know nothing of each
other."""

BASELINES = (LOCALIZER, STATE_IQL, "sac")
"""What the full pretraining trains beside reward and agent."""


PRACTICES: dict[str, dict[str, Any]] = {
    "paper": PAPER_PRACTICE,
    "ours": {},
    "score-alone": {"verify": "score"},
    "one-frame": {"hold_frames": 1},
    "no-reversal": {"withdrawals": 0},
    "no-boost": {"boost": False},
    "no-one-place": {"one_place": False},
    "fixed-threshold": {"calibrate": False},
    "imitate-all": {"imitate": "all"},
    "no-q-gradient": {"q_gradient_weight": 0.0},
    "early-q-gradient": {"q_gradient_successes": 1},
    "online-25": {"online_fraction": 0.25},
    "online-50": {"online_fraction": 0.5},
    "scale-20": {"advantage_scale": 20.0},
    "updates-1": {"updates_per_step": 1},
    "updates-4": {"updates_per_step": 4},
}
"""Practice settings that are not the preset's: the paper's protocol (LOTJ section V-C), none, or one part changed."""


@dataclass(frozen=True)
class Method:
    """A column: who practises, and which of the evaluations it shows.

    Attributes:
        title, agent: of the column; who practises, as in `lotj practice --agent`.
        controller: what is counted, as in `lotj evaluate --controllers`, or `HALFWAY`.
        paper: the paper's successes of 20 on each of `CONNECTORS`; None for a method that it does not have.
        variant, practice: how it was pretrained and practises, of `VARIANTS` and `PRACTICES`.
    """

    title: str
    agent: str
    controller: str
    paper: tuple[int, int, int, int] | None
    variant: str = "full"
    practice: str = "paper"


OURS = (
    Method("LOTJ, our practice", "iql", "practice", None, practice="ours"),
    Method("ours offline", "iql", "offline", None, "ours", "ours"),
    Method("ours halfway", "iql", HALFWAY, None, "ours", "ours"),
    Method("ours online", "iql", "practice", None, "ours", "ours"),
)
"""Last lines of tables I and II."""

NEAR = (
    Method("Localize", "iql", "localize", (3, 3, 0, 6)),
    Method("Straight down", "iql", "straight-down", (1, 1, 1, 4)),
    Method("Random search", "iql", "random-search", (7, 1, 0, 6)),
    Method("Spiral search", "iql", "spiral-search", (4, 15, 3, 4)),
    Method("SAC offline", "sac", "offline", (0, 0, 0, 0)),
    Method("SAC online", "sac", "practice", (0, 0, 0, 0)),
    Method("State-IQL offline", "state-iql", "offline", (5, 0, 4, 6)),
    Method("State-IQL online", "state-iql", "practice", (5, 2, 1, 4)),
    Method("LOTJ offline", "iql", "offline", (7, 5, 11, 10)),
    Method("LOTJ online", "iql", "practice", (19, 16, 15, 15)),
    *OURS,
)
"""Table I: starts within 10 mm."""

FAR = (
    Method("Localize", "iql", "localize", (0, 0, 0, 0)),
    Method("Straight down", "iql", "localize-straight-down", (0, 1, 0, 0)),
    Method("Random search", "iql", "localize-random-search", (0, 0, 0, 0)),
    Method("Spiral search", "iql", "localize-spiral-search", (0, 17, 0, 0)),
    Method("SAC offline", "sac", "offline", (0, 0, 0, 0)),
    Method("SAC online", "sac", "practice", (0, 0, 0, 0)),
    Method("State-IQL offline", "state-iql", "offline", (0, 0, 3, 0)),
    Method("State-IQL online", "state-iql", "practice", (3, 11, 1, 5)),
    Method("LOTJ offline", "iql", "offline", (5, 0, 6, 2)),
    Method("LOTJ online", "iql", "practice", (18, 20, 17, 15)),
    *OURS,
)
"""Table II: starts 10 to 20 mm beside; the searches start from where the localisation model says the socket is."""


ABLATION = (
    Method("no DAIB offline", "iql", "offline", (0, 3, 0, 0), "no-daib"),
    Method("no DAIB online", "iql", "practice", (5, 0, 0, 15), "no-daib"),
    Method("DAIB reward offline", "iql", "offline", (4, 3, 0, 1), "daib-reward"),
    Method("DAIB reward online", "iql", "practice", (0, 20, 2, 12), "daib-reward"),
    Method("full offline", "iql", "offline", (0, 0, 6, 2)),
    Method("full online", "iql", "practice", (18, 20, 17, 15)),
)
"""Table III: what the bottleneck of reward and policy is worth, far."""


PARTS = (
    Method("ours offline", "iql", "offline", None, "ours", "ours"),
    Method("ours", "iql", "practice", None, "ours", "ours"),
    Method("offline", "iql", "offline", None, practice="ours"),
    Method("pretrained as in the paper", "iql", "practice", None, practice="ours"),
    Method("without verification", "iql", "practice", None, practice="score-alone"),
    Method("one frame", "iql", "practice", None, practice="one-frame"),
    Method("without reversed extractions", "iql", "practice", None, practice="no-reversal"),
    Method("without exploration boost", "iql", "practice", None, practice="no-boost"),
    Method("successes anywhere", "iql", "practice", None, practice="no-one-place"),
    Method("threshold not calibrated", "iql", "practice", None, practice="fixed-threshold"),
    Method("failures imitated too", "iql", "practice", None, practice="imitate-all"),
    Method("imitation alone", "iql", "practice", None, practice="no-q-gradient"),
    Method("Q's gradient from the first success", "iql", "practice", None, practice="early-q-gradient"),
    Method("25 % online", "iql", "practice", None, practice="online-25"),
    Method("50 % online", "iql", "practice", None, practice="online-50"),
    Method("advantage scale 20", "iql", "practice", None, practice="scale-20"),
    Method("1 update a step", "iql", "practice", None, practice="updates-1"),
    Method("4 updates a step", "iql", "practice", None, practice="updates-4"),
    Method("the paper's protocol", "iql", "practice", None, practice="paper"),
)
"""What each part of ours adds, far, on validation connectors. From the second offline policy on all are pretrained
as in the paper, which leaves practice more to do."""


@dataclass(frozen=True)
class Comparison:
    """One of the tables.

    Attributes:
        name, title: as a command names it; for people.
        scenario: where trials start.
        methods: its columns.
        connectors, seeds, trials: its rows, and what a command does, unless it is told otherwise.
    """

    name: str
    title: str
    scenario: str
    methods: tuple[Method, ...]
    connectors: tuple[str, ...] = tuple(CONNECTORS)
    seeds: tuple[int, ...] = (0, 1)
    trials: int = 200

    def jobs(
        self,
        preset: str,
        data: Path,
        runs: Path,
        units: Sequence[Unit],
        trials: int = 200,
        evaluation_trials: int = 20,
        connectors: Sequence[str] = (),
        machine: Mapping[str, Any] | None = None,
        training_machine: Mapping[str, Any] | None = None,
    ) -> list[Job]:
        """All that must be done for it; the tables share the jobs that they have in common.

        Args:
            preset: its name.
            data, runs: folder of the data set; where each job gets a folder.
            trials, evaluation_trials: of practice; of each evaluation.
            connectors: those practised on, if not the table's own.
            machine: ``threads`` and ``device`` of every job.
            training_machine: those of the trainings, where they are others.
        """
        machine = machine or {}
        learners = list(dict.fromkeys((method.agent, method.variant, method.practice) for method in self.methods))
        halfway = {(m.agent, m.practice) for m in self.methods if m.controller == HALFWAY}
        jobs = []
        for seed in dict.fromkeys(unit.seed for unit in units):
            trainings, practising = [], []
            for variant in dict.fromkeys(variant for _, variant, _ in learners):
                trainings += _trainings(variant, seed, preset, data, runs, training_machine or machine)
            of_seed = [unit for unit in units if unit.seed == seed]
            for connector, unit, learner in itertools.product(connectors or self.connectors, of_seed, learners):
                agent, variant, practice = learner
                name = job_name(self.scenario, connector, agent, unit, variant, practice)
                arguments: dict[str, Any] = {
                    "preset": preset,
                    "pretrained": str(runs / pretrain_name(variant, seed)),
                    "folder": str(runs / name),
                    "connector": connector,
                    "scenario": self.scenario,
                    "robot": unit.robot,
                    "seed": seed,
                    "agent": agent,
                    "practice": practice_settings(preset, trials=trials, **PRACTICES[practice]),
                    "controllers": (controllers := _controllers(self.scenario, *learner)),
                    "evaluation_trials": evaluation_trials,
                    **({"bench": unit.bench} if unit.bench else {}),
                    **({"halfway": True} if (agent, practice) in halfway else {}),
                }
                learned = agent != "iql" or any("localize" in controller for controller in controllers)
                needs = (baselines_name(seed) if learned else pretrain_name(variant, seed),)
                practising.append(Job(name, practice_job, arguments, needs, machine, runs / name))
            jobs += with_needs(practising, trainings)
        return jobs

    def table(self, results: Mapping[str, Any], units: Sequence[Unit], connectors: Sequence[str] = ()) -> SuccessTable:
        """The table of what is done; cells without a result are empty."""
        rows = {}
        for connector in connectors or self.connectors:
            cells = [_cell(self.scenario, connector, method, results, units) for method in self.methods]
            rows[CONNECTORS.get(connector, connector)] = cells
        beside = "; in brackets the paper's of 20" if any(method.paper for method in self.methods) else ""
        notes = (
            f"Successes of all trials; 95 % interval of the mean over units, beta-binomial{beside}. A unit is a "
            f"pretraining on a bench: {', '.join(map(str, units))}, of each connector. Marked (*, bold): the best, and "
            "what sign flips over shared units at 5 % do not tell from it (not corrected for the number of methods). "
            "Without a mark: cannot tell, as ever with fewer than 6 units.",
        )
        return SuccessTable(self.title, [method.title for method in self.methods], rows, notes)


def with_needs(made: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """Jobs behind those of `others` that they need, or that these need."""
    by_name = {job.name: job for job in others}
    needed, asked = set(), [need for job in made for need in job.needs]
    while asked:
        needed.add(name := asked.pop())
        asked += by_name[name].needs
    return [job for job in others if job.name in needed] + [*made]


def pretrain_name(variant: str, seed: int) -> str:
    """Name of a pretraining job."""
    return f"pretrain-{variant}-seed{seed}"


def baselines_name(seed: int) -> str:
    """Name of the job that trains `BASELINES` beside the full pretraining."""
    return f"baselines-seed{seed}"


def job_name(
    scenario: str, connector: str, agent: str, unit: Unit, variant: str = "full", practice: str = "paper"
) -> str:
    """Name of a practice job."""
    return f"{scenario}-{connector}-{agent}-{variant}-{practice}-{unit.job}"


def _trainings(variant: str, seed: int, preset: str, data: Path, runs: Path, machine: Mapping[str, Any]) -> list[Job]:
    """A pretraining; beside the full one, what trains the baselines."""
    name = pretrain_name(variant, seed)
    arguments: dict[str, Any] = {"preset": preset, "data": str(data), "folder": str(runs / name)}
    arguments |= {"seed": seed, **VARIANTS[variant]}
    done = {half: pretrain_name(other, seed) for half, other in SHARED.get(variant, {}).items()}
    arguments |= {"done": {half: str(runs / other) for half, other in done.items()}} if done else {}
    jobs = [Job(name, pretrain_job, arguments, tuple(done.values()), machine, runs / name)]
    if variant == "full":
        also = {**arguments, "also": list(BASELINES)}
        jobs.append(Job(baselines_name(seed), pretrain_job, also, (name,), machine, runs / name))
    return jobs


def _controllers(scenario: str, agent: str, variant: str, practice: str) -> list[str]:
    """What a practice job evaluates: of the full pretraining all that tables I or II show, whichever table asks."""
    if variant != "full" or practice != "paper":
        return ["offline", "practice"]
    table = NEAR if scenario == "near" else FAR
    return [method.controller for method in table if (method.agent, method.practice) == (agent, practice)]


def _cell(
    scenario: str, connector: str, method: Method, results: Mapping[str, Any], units: Sequence[Unit]
) -> Cell | None:
    names = {unit: job_name(scenario, connector, method.agent, unit, method.variant, method.practice) for unit in units}
    outcomes = {
        str(unit): results[name]["evaluations"][method.controller]["success"]
        for unit, name in names.items()
        if results.get(name) is not None
    }
    if not outcomes:
        return None
    paper = dict(zip(CONNECTORS, method.paper, strict=True)).get(connector) if method.paper else None
    return Cell(tuple(outcomes), tuple(map(sum, outcomes.values())), tuple(map(len, outcomes.values())), paper)


COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        Comparison("table1", "Table I: starts within 10 mm of the socket's axis", "near", NEAR),
        Comparison("table2", "Table II: starts 10 to 20 mm beside the socket", "far", FAR),
        Comparison("table3", "Table III: the bottleneck of reward and policy, 10 to 20 mm beside", "far", ABLATION),
        # After 200 trials most ways end alike.
        Comparison("parts", "What each part of practice adds, 10 to 20 mm beside", "far", PARTS, VALIDATION, (0,), 100),
    )
}
"""By name."""
