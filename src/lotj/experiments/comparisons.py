"""Tables I to III of *Learning on the Job*: controllers, learners and ablations on the four test connectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotj.distributed import Job
from lotj.experiments.study import practice_job, pretrain_job
from lotj.experiments.tables import Cell, SuccessTable

CONNECTORS = {
    "deutsch-dt-12": "DT12-1",
    "mega-brick-1x1": "Mega 1x1",
    "nema-5-15": "NEMA 15",
    "europlug": "Europlug",
}
"""The test connectors, and what the paper's tables call them."""

ROBOTS = ("duo", "trio")
"""Robot of each pretraining seed, in turn."""


VARIANTS: dict[str, dict[str, str]] = {
    "full": {},
    "daib-reward": {"policy_variant": "erm"},
    "no-daib": {"reward_variant": "erm", "policy_variant": "erm"},
}
"""Pretrainings: the bottleneck of reward and policy where it is not the preset's (LOTJ, table III)."""

BASELINES = ("localizer", "state-iql", "sac")
"""What the full pretraining trains beside reward and agent."""


PRACTICES: dict[str, dict[str, Any]] = {
    "paper": {"online_fraction": 0.25, "hold_frames": 1, "calibrate": False, "confirm": "look", "imitate": "all"},
    "ours": {},
}
"""Practice settings that are not the preset's: the paper's protocol (LOTJ section V-C), or none."""


@dataclass(frozen=True)
class Method:
    """A column: who practises, and which of the evaluations it shows.

    Attributes:
        title: of the column.
        agent: who practises, as in `lotj practice --agent`.
        controller: what is counted, as in `lotj evaluate --controllers`.
        paper: the paper's successes of 20 on each of `CONNECTORS`; None for a method that it does not have.
        variant: of the pretraining, one of `VARIANTS`.
        practice: how it practises, one of `PRACTICES`.
    """

    title: str
    agent: str
    controller: str
    paper: tuple[int, int, int, int] | None
    variant: str = "full"
    practice: str = "paper"


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
    Method("ours online", "iql", "practice", None, practice="ours"),
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
    Method("ours online", "iql", "practice", None, practice="ours"),
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


@dataclass(frozen=True)
class Comparison:
    """One of the tables.

    Attributes:
        name: of the table, as a command names it.
        title: for people.
        scenario: where trials start.
        methods: its columns.
    """

    name: str
    title: str
    scenario: str
    methods: tuple[Method, ...]

    def jobs(
        self,
        preset: str,
        data: Path,
        runs: Path,
        seeds: Sequence[int],
        trials: int = 200,
        evaluation_trials: int = 20,
        threads: int = 2,
        connectors: Sequence[str] = tuple(CONNECTORS),
    ) -> list[Job]:
        """All that must be done for it; the tables share the jobs that they have in common."""
        learners = list(dict.fromkeys((method.agent, method.variant, method.practice) for method in self.methods))
        jobs = []
        for seed in seeds:
            for variant in dict.fromkeys(variant for _, variant, _ in learners):
                arguments: dict[str, Any] = {"preset": preset, "data": str(data), "seed": seed, **VARIANTS[variant]}
                arguments["folder"] = str(runs / pretrain_name(variant, seed))
                arguments["also"] = list(BASELINES) if variant == "full" else []
                jobs.append(Job(pretrain_name(variant, seed), pretrain_job, arguments))
            for connector in connectors:
                for agent, variant, practice in learners:
                    name = job_name(self.scenario, connector, agent, seed, variant, practice)
                    arguments = {
                        "preset": preset,
                        "pretrained": str(runs / pretrain_name(variant, seed)),
                        "folder": str(runs / name),
                        "connector": connector,
                        "scenario": self.scenario,
                        "robot": ROBOTS[seed % len(ROBOTS)],
                        "seed": seed,
                        "agent": agent,
                        "practice": PRACTICES[practice],
                        "controllers": _controllers(self.scenario, agent, variant, practice),
                        "trials": trials,
                        "evaluation_trials": evaluation_trials,
                    }
                    needs, machine = (pretrain_name(variant, seed),), {"threads": threads}
                    jobs.append(Job(name, practice_job, arguments, needs, machine))
        return jobs

    def table(
        self, results: Mapping[str, Any], seeds: Sequence[int], connectors: Sequence[str] = tuple(CONNECTORS)
    ) -> SuccessTable:
        """The table of what is done; cells without a result are empty."""
        rows = {}
        for connector in connectors:
            cells = [_cell(self.scenario, connector, method, results, seeds) for method in self.methods]
            rows[CONNECTORS.get(connector, connector)] = cells
        notes = (
            f"Successes of all trials of {len(seeds)} pretraining seeds, Wilson 95 % interval; in brackets the paper's "
            "of 20. Best, and what Barnard's exact test at 5 % does not tell from it, are marked.",
        )
        return SuccessTable(self.title, [method.title for method in self.methods], rows, notes)


def pretrain_name(variant: str, seed: int) -> str:
    """Name of a pretraining job."""
    return f"pretrain-{variant}-seed{seed}"


def job_name(
    scenario: str, connector: str, agent: str, seed: int, variant: str = "full", practice: str = "paper"
) -> str:
    """Name of a practice job."""
    return f"{scenario}-{connector}-{agent}-{variant}-{practice}-seed{seed}"


def _controllers(scenario: str, agent: str, variant: str, practice: str) -> list[str]:
    """What a practice job evaluates: of the full pretraining all that tables I or II show, whichever table asks."""
    if variant != "full":
        return ["offline", "practice"]
    table = NEAR if scenario == "near" else FAR
    return [method.controller for method in table if (method.agent, method.practice) == (agent, practice)]


def _cell(
    scenario: str, connector: str, method: Method, results: Mapping[str, Any], seeds: Sequence[int]
) -> Cell | None:
    of = (method.variant, method.practice)
    done = [results.get(job_name(scenario, connector, method.agent, seed, *of)) for seed in seeds]
    outcomes = [result["evaluations"][method.controller]["success"] for result in done if result is not None]
    if not outcomes:
        return None
    paper = dict(zip(CONNECTORS, method.paper, strict=True)).get(connector) if method.paper else None
    return Cell(tuple(sum(o) for o in outcomes), tuple(len(o) for o in outcomes), paper)


COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        Comparison("table1", "Table I: starts within 10 mm of the socket's axis", "near", NEAR),
        Comparison("table2", "Table II: starts 10 to 20 mm beside the socket", "far", FAR),
        Comparison("table3", "Table III: the bottleneck of reward and policy, 10 to 20 mm beside", "far", ABLATION),
    )
}
"""By name."""
