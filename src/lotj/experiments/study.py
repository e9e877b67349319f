"""What `lotj reproduce` does, as jobs: pretrain, practise and evaluate, each by names and numbers alone.

A job finds what an interrupted one of the same name has left in its folder and goes on there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lotj.data.store import DiskStore
from lotj.distributed import Job
from lotj.errors import RobotError, SettingsError
from lotj.evaluation.detectors import INSIDE
from lotj.evaluation.results import EvaluationResult
from lotj.evaluation.truth import match_truth, motions
from lotj.experiments.evaluation import FIRST_EVALUATION_SEED, evaluate_phase
from lotj.experiments.presets import Preset, as_in_paper, find_preset
from lotj.experiments.stages import collect_phase, practice_phase, pretrain_phase
from lotj.experiments.state_iql import STATE_IQL
from lotj.files import read_object
from lotj.nets.augment import COLOURLESS
from lotj.nets.bottleneck import Variant
from lotj.runs import Run, base_run, find_run, first_difference, plain, read_timings, restore_settings
from lotj.runs.metrics import read_lines
from lotj.runs.versions import commit
from lotj.training.collect_insertion import CollectConfig
from lotj.training.localize import LOCALIZER
from lotj.training.practice import finished_trials
from lotj.training.practice_config import SelfJudgedConfig

BASE = "base"
"""Stands for the pretraining that comes with lotj, among the names of `VARIANTS` and for the folder of one."""

RESET_S = 5.0
"""Seconds that a reset is reckoned at, in practice and evaluation: out of the socket, back to a start, the part grasped
anew where it was lost. No machine was timed; all other robot time is motions, ten a second."""


@dataclass(frozen=True)
class Asked:
    """What a command asks of a study.

    Attributes:
        preset, data, runs: size of the trainings, folder of the data set, where each job gets a folder.
        connectors, benches, trials, practice: see `lotj reproduce --help`; where empty, what is usual for the study.
        machine: ``threads`` and ``device`` of the jobs.
    """

    preset: str
    data: Path
    runs: Path
    connectors: tuple[str, ...] = ()
    benches: tuple[int, ...] = ()
    trials: tuple[int, ...] = ()
    practice: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def refuse_choices(self, name: str) -> None:
        """SettingsError where a study of that name is asked for anything but its size."""
        if self.connectors or self.benches or self.trials or self.practice:
            raise SettingsError(f"{name}: takes no connectors, benches, trials or practice; leave them out")


def page(title: str, parts: Sequence[str], results: Mapping[str, Any]) -> bytes:
    """A study's table with its title, and with which programs and machines its results were made."""
    made = [result["made"] for result in results.values() if "made" in result]
    words = [f"results: {len(results)}"]
    for name in ("commit", "cpu", "gpu", "torch"):
        found = sorted({one[name] for one in made if one.get(name)})
        words += [f"{name}: {', '.join(found)}"] if found else []
    return "\n".join([f"# {title}\n", *parts, "; ".join(words) + "\n"]).encode()


def with_needs(made: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """Jobs behind those of `others` that they need, or that these need."""
    by_name = {job.name: job for job in others}
    needed, asked = set(), [need for job in made for need in job.needs]
    while asked:
        needed.add(name := asked.pop())
        asked += by_name[name].needs
    return [job for job in others if job.name in needed] + [*made]


def collect_job(preset: str, variant: str, folder: str) -> dict[str, Any]:
    """Record the data of one of `OWN_DATA`, in sizes of a preset; goes on with what the folder holds."""
    collect_phase(VARIANTS[variant](find_preset(preset)), Path(folder), workers=1)
    return {"episodes": len(DiskStore.open(folder))}


def pretrain_job(
    preset: str, data: str, folder: str, seed: int, variant: str, done: Mapping[str, str], also: Sequence[str] = (),
    threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Train reward model and agent, and the baselines' models; what the folder's run holds is not trained again.

    Args:
        preset, variant: names, the latter of `VARIANTS`.
        folder: of this job alone; the run's folder is made in it. SettingsError if it holds one of other settings.
        seed, also: see `lotj pretrain --help`.
        done: ``reward`` or ``iql`` -> folder of the job that has done that training with the same settings.

    Returns:
        ``run``, the name of the run's folder in `folder`, and ``seconds`` of what was trained in it.
    """
    torch.set_num_threads(threads)
    settings = VARIANTS[variant](find_preset(preset))
    others = {training: find_run(Path(other), "pretrain") for training, other in done.items()}
    left = begun(Path(folder), "pretrain", plain(asdict(settings.pretraining)))
    run = pretrain_phase(settings, Path(data), Path(folder), seed, device, left, False, also, others)
    run.close()
    return {"run": run.path.name, "seconds": _seconds(run, "baselines" if also else "pretrain"), "made": _made(run)}


def practice_job(
    preset: str, pretrained: str, folder: str, practice: Mapping[str, Any], trials: Sequence[int],
    controllers: Sequence[str], evaluation_trials: int, threads: int = 1, device: str = "cpu", **bench: Any,
) -> dict[str, Any]:  # fmt: skip
    """Practise on one connector, then count true successes.

    Args:
        pretrained: folder of the pretraining's job, or `BASE`.
        folder: of this job alone; the run's folder is made in it. SettingsError if it holds one of other settings.
        practice: from `practice_settings`, of as many trials as the last of `trials`.
        trials: after which the policy is evaluated, from snapshots, when practice is over.
        controllers: what else to evaluate, see `evaluate_phase`; each in so many `evaluation_trials`.
        bench: connector, scenario, robot, domain_seed, seed and agent, and ``truth``, see `practice_phase`.

    Returns:
        ``evaluations``: `after` or controller -> `_outcome`; ``practice``, from `in_practice`; ``run``, ``seconds``;
        ``reward``, where it was the truth.
    """
    config = restore_settings(SelfJudgedConfig, {**practice, "threads": threads}, folder)
    settings = replace(find_preset(preset), practice=config)
    left = begun(Path(folder), "practice", {"practice": practice})
    how: dict[str, Any] = {"device": device, "live": False, "snapshots": trials[:-1], **bench}
    before = base_run() if pretrained == BASE else find_run(Path(pretrained), "pretrain")
    of, done = (settings, before, Path(folder)), 0
    while True:
        try:
            run, _ = practice_phase(*of, resume=left, **how)
            break
        except RobotError:  # it was lost many times in a row; nobody has to mend a simulated gripper
            left, earlier = find_run(Path(folder), "practice"), done
            done = finished_trials(left)
            if done <= earlier:
                raise
    evaluations = {}
    with run:
        for count in trials:
            then = None if count == trials[-1] else count
            (result,) = evaluate_phase(run, evaluation_trials, device, controllers=["practice"], after=then)
            evaluations[after(count)] = _outcome(result)
        for result in evaluate_phase(run, evaluation_trials, device, controllers=controllers) if controllers else ():
            evaluations[result.name] = _outcome(result)
    told = {"run": run.path.name, "seconds": _seconds(run, "practice"), "practice": in_practice(run, trials)}
    told |= {"reward": run.config["reward"]} if "reward" in run.config else {}
    return {**told, "made": _made(run), "first_evaluation_seed": FIRST_EVALUATION_SEED, "evaluations": evaluations}


def after(trials: int) -> str:
    """Name of the evaluation of the policy after so many trials."""
    return f"after-{trials}"


def practice_settings(preset: str, **changes: Any) -> dict[str, Any]:
    """All practice settings that a job's result depends on, as JSON values: a preset may change, its name does not.
    `changes` are not the preset's."""
    settings = plain(asdict(replace(find_preset(preset).practice, **changes)))
    del settings["threads"]  # how, not what
    return settings


def with_bottleneck(preset: Preset, variant: Variant, *parts: str) -> Preset:
    """The preset with another bottleneck in its parts ``reward`` or ``iql``."""
    for part in parts:
        settings = getattr(preset, part)
        changed = replace(settings, bottleneck=replace(settings.bottleneck, variant=variant))
        preset = replace(preset, **{part: changed})
    return preset


OWN_DATA = {"wrist-two": "", "wrist-one": "-one", "fixed": "-fixed", "lotj": ""}
"""Variants whose data are recorded for them: what is behind the names of their robots, which says its cameras."""


def colourless(preset: Preset) -> Preset:
    """The preset whose policy is trained on pictures in their own colours, moved alone."""
    return replace(preset, front=replace(preset.front, augment=replace(preset.front.augment, **COLOURLESS)))


def longer(preset: Preset) -> Preset:
    """The preset whose agent is trained half as long again."""
    return replace(preset, pretrain=replace(preset.pretrain, steps=3 * preset.pretrain.steps // 2))


def paper_data(preset: Preset, variant: str, episodes: int = 20) -> Preset:
    """The preset on data as the paper's: 50 connectors on two robots with one look each, the expert alone."""
    robots = tuple(f"{name}{OWN_DATA[variant]}" for name in ("duo", "trio"))
    collect = CollectConfig(robots=robots, robots_per_connector=2, expert_episodes=episodes, near_miss_share=0.0)
    validation = replace(collect, expert_episodes=12)
    return replace(preset, training_connectors=50, collect=collect, collect_validation=validation)


VARIANTS: dict[str, Callable[[Preset], Preset]] = {
    "ours": lambda preset: preset,
    "full": as_in_paper,
    "daib-reward": lambda preset: with_bottleneck(as_in_paper(preset), "erm", "iql"),
    "no-daib": lambda preset: with_bottleneck(as_in_paper(preset), "erm", "reward", "iql"),
    "policy-erm": lambda preset: with_bottleneck(preset, "erm", "iql"),
    "both-erm": lambda preset: with_bottleneck(preset, "erm", "reward", "iql"),
    "colourless": colourless,
    "colourless-policy-erm": lambda preset: with_bottleneck(colourless(preset), "erm", "iql"),
    "lotj": lambda preset: longer(paper_data(as_in_paper(preset), "lotj", 40)),
    **{name: partial(paper_data, variant=name) for name in ("wrist-two", "wrist-one", "fixed")},
}
"""Pretrainings: ours, the paper's, and the paper's without the bottleneck of policy or of both (LOTJ, table III); ours
without either, and without changes of colour; ours with cameras, and the paper's, each on data as the paper's."""


SHARED = {"full": {"reward": "ours"}, "daib-reward": {"reward": "ours", "iql": "no-daib"}}
SHARED |= {"both-erm": {"iql": "policy-erm"}} | dict.fromkeys(
    ("policy-erm", "colourless", "colourless-policy-erm"), {"reward": "ours"}
)
"""Pretrainings that take over what others have trained alike: reward model and agent know nothing of each other."""

BASELINES = (LOCALIZER, STATE_IQL, "sac")
"""What the full pretraining trains beside reward and agent."""


def pretrain_name(variant: str, seed: int) -> str:
    """Name of a pretraining job."""
    return f"pretrain-{variant}-seed{seed}"


def baselines_name(seed: int) -> str:
    """Name of the job that trains `BASELINES` beside the full pretraining."""
    return f"baselines-seed{seed}"


def trainings(count: int, asked: Asked) -> list[Job]:
    """All pretrainings of so many seeds, what trains baselines beside the full ones, and what records `OWN_DATA`."""
    preset = {"preset": asked.preset}
    own = {of: Job.in_folder(asked.runs, f"data-{of}", collect_job, {**preset, "variant": of}) for of in OWN_DATA}
    jobs = [*own.values()]
    for seed, variant in itertools.product(range(count), VARIANTS):
        name = pretrain_name(variant, seed)
        done = {half: pretrain_name(of, seed) for half, of in SHARED.get(variant, {}).items()}
        arguments: dict[str, Any] = {**preset, "data": str(asked.data), "variant": variant, "seed": seed}
        arguments |= {"done": {half: str(asked.runs / other) for half, other in done.items()}}
        needs = tuple(done.values())
        if variant in own:
            arguments["data"], needs = str(own[variant].leaves), (own[variant].name, *needs)
        jobs.append(Job.in_folder(asked.runs, name, pretrain_job, arguments, needs, asked.machine))
        if variant == "full":
            also = {**arguments, "also": list(BASELINES), "folder": str(asked.runs / name)}
            jobs.append(Job(baselines_name(seed), pretrain_job, also, (name,), asked.machine, asked.runs / name))
    return jobs


def _outcome(result: EvaluationResult) -> dict[str, Any]:
    """True ``successes`` of ``n`` trials, ``seconds`` of motion in all of them and in those that succeeded."""
    of = {"seconds": result.seconds.sum(), "success_seconds": result.seconds[result.success].sum()}
    return {"successes": result.successes, "n": len(result), **{name: round(float(s), 1) for name, s in of.items()}}


def in_practice(run: Run, trials: Sequence[int]) -> dict[str, Any]:
    """How practice went: trials ``predicted`` to be a success, those of them that truly were none (``false``), of
    these again those that were one in the ``wrong_socket`` and those whose plug was ``half_in`` its own; those that
    were one unseen (``missed``), ``lost`` parts; trials under alarm and whether the last was; the trial whose policy
    was ``kept``; ``robot_minutes`` up to each of `trials`, resets included."""
    rows = {row["trial"]: row for row in run.metrics()}
    truth = read_lines(run.path / "truth.jsonl")
    known = match_truth(rows, truth)
    said = [known[trial] for trial, row in rows.items() if row["predicted_success"]]
    wrong = [true for true in said if not true["true_success"]]
    unsaid = [known[trial] for trial, row in rows.items() if not row["predicted_success"]]
    *_, last = rows.values()
    minutes = (motions(rows, truth) / run.config["rate_hz"] + RESET_S) / 60
    return {
        "predicted": len(said),
        "false": len(wrong),
        "wrong_socket": sum(bool(true.get("wrong_socket")) for true in said),
        "half_in": sum(true["depth_mm"] > 0 and true["lateral_mm"] < 1e3 * INSIDE for true in wrong),
        "missed": sum(bool(true["true_success"]) for true in unsaid),
        "lost": sum(row["lost"] for row in rows.values()),
        "alarms": sum(row["alarm"] for row in rows.values()),
        "alarm": bool(last["alarm"]),
        "kept": last["kept"],
        "robot_minutes": {after(count): round(float(minutes[:count].sum()), 2) for count in trials},
    }


def _made(run: Run) -> dict[str, Any]:
    """When a run was begun, and with what; the job may have gone on with it at another commit."""
    first, now = read_object(run.path / "versions.json"), commit()
    own = first.get("commit") or "not recorded"
    said = own if own == now else f"{own} (gone on with at {now})"
    return {**first, "begun": run.created[:19], "commit": said}


def _seconds(run: Run, phase: str) -> float:
    """What the run's sittings of a phase took together."""
    return read_timings(run.path / "timings.json")["seconds"][phase]


def begun(folder: Path, kind: str, wanted: Mapping[str, Any] | None = None) -> Run | None:
    """The run that an interrupted job has left in its folder; SettingsError if it is not of the settings `wanted`."""
    try:
        run = find_run(folder, kind)
    except SettingsError:
        return None
    other = first_difference(run.config, wanted or {})
    if other:
        raise SettingsError(f"{run.path} was begun with {other}: remove it, and the job begins anew")
    return run
