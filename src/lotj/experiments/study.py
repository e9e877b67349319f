"""The jobs that the paper's tables are made of: pretrain, practise and evaluate, each by names and numbers alone.

A job of these finds what an interrupted one of the same name has left in its folder and goes on there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from lotj.errors import SettingsError
from lotj.evaluation import EvaluationResult
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.presets import Preset, as_in_paper, find_preset
from lotj.experiments.stages import practice_phase, pretrain_phase
from lotj.nets.bottleneck import Variant
from lotj.runs import Run, atomic_write, find_run, first_difference, plain, restore_settings
from lotj.training.practice_config import PracticeConfig

HALFWAY = "halfway"
"""The policy after half of the trials, among the evaluations of `practice_job`."""

_HALFWAY_FILE = "halfway.json"


def pretrain_job(
    preset: str,
    data: str,
    folder: str,
    seed: int,
    also: Sequence[str] = (),
    reward_variant: Variant | None = None,
    policy_variant: Variant | None = None,
    paper: bool = False,
    done: Mapping[str, str] | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train reward model and agent, and the baselines' models; what the folder's run holds is not trained again.

    Args:
        preset, data: name and folder.
        folder: of this job alone; the run's folder is made in it.
        also: see `lotj pretrain --help`.
        reward_variant, policy_variant: bottleneck of each; None for the preset's.
        paper: pretrain by the paper's losses alone, see `as_in_paper`.
        done: ``reward`` or ``iql`` -> folder of the job that has done that training with the same settings.

    Returns:
        ``run``, the name of the run's folder in `folder`, and ``seconds`` of what was trained in it.
    """
    torch.set_num_threads(threads)
    settings = as_in_paper(find_preset(preset)) if paper else find_preset(preset)
    settings = with_variant(with_variant(settings, "reward", reward_variant), "iql", policy_variant)
    others = {training: find_run(Path(other), "pretrain") for training, other in (done or {}).items()}
    begun = _begun(Path(folder), "pretrain")
    run = pretrain_phase(settings, Path(data), Path(folder), seed, device, begun, False, also, others)
    run.close()
    return {"run": run.path.name, "seconds": _seconds(run, "baselines" if also else "pretrain")}


def practice_job(
    preset: str,
    pretrained: str,
    folder: str,
    connector: str,
    scenario: str,
    robot: str,
    seed: int,
    agent: str,
    practice: Mapping[str, Any],
    controllers: Sequence[str],
    evaluation_trials: int,
    halfway: bool = False,
    bench: int = 0,
    threads: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:
    """Practise on one connector, then count true successes.

    Args:
        preset, pretrained: name of the preset, folder of the pretraining's job.
        folder: of this job alone; the run's folder is made in it.
        connector, scenario, robot, seed, agent: see `lotj practice --help`.
        practice: from `practice_settings`.
        controllers, evaluation_trials: which to evaluate, see `lotj.experiments.entrants`, and how often.
        halfway: evaluate the policy also after half of the trials, as the controller `HALFWAY`.
        bench: the seed of the connector's domain.

    Raises:
        SettingsError: the folder holds a run that was begun with other practice settings.

    Returns:
        ``evaluations``: controller -> ``success`` (n,) and ``seed`` (n,); ``run``, and ``seconds`` of practice.
    """
    config = restore_settings(PracticeConfig, {**practice, "threads": threads}, folder)
    settings = replace(find_preset(preset), practice=config)
    begun = _begun(Path(folder), "practice")
    other = begun and first_difference(begun.config["practice"], practice)
    if begun and other:
        raise SettingsError(f"{begun.path} was begun with {other}: remove it, and the job begins anew")
    of = (settings, find_run(Path(pretrained), "pretrain"), Path(folder), connector, scenario, robot, bench)
    how: dict[str, Any] = {"seed": seed, "device": device, "live": False, "agent": agent}
    evaluations: dict[str, Any] = {}
    if halfway:
        kept = begun and begun.path / _HALFWAY_FILE
        if not kept or not kept.exists():
            begun, _ = practice_phase(*of, **how, resume=begun, until=math.ceil(settings.practice.trials / 2))
            with begun:
                (result,) = evaluate_phase(begun, evaluation_trials, device, controllers=("practice",))
            kept = begun.path / _HALFWAY_FILE
            atomic_write(kept, json.dumps(_outcomes(result)).encode())
        evaluations[HALFWAY] = json.loads(kept.read_text())
    run, _ = practice_phase(*of, **how, resume=begun)
    with run:
        results = evaluate_phase(run, evaluation_trials, device, controllers=controllers)
    evaluations |= {result.name: _outcomes(result) for result in results}
    return {"run": run.path.name, "seconds": _seconds(run, "practice"), "evaluations": evaluations}


def practice_settings(preset: str, **changes: Any) -> dict[str, Any]:
    """All practice settings that a job's result depends on, as JSON values: a preset may change, its name does not.
    `changes` are not the preset's."""
    settings = plain(asdict(replace(find_preset(preset).practice, **changes)))
    del settings["threads"]  # how, not what
    return settings


def with_variant(preset: Preset, part: str, variant: Variant | None) -> Preset:
    """The preset with another bottleneck, if one is given, in its part ``reward`` or ``iql``."""
    if variant is None:
        return preset
    settings = getattr(preset, part)
    return replace(preset, **{part: replace(settings, bottleneck=replace(settings.bottleneck, variant=variant))})


def _outcomes(result: EvaluationResult) -> dict[str, list[int]]:
    return {"success": [int(s) for s in result.success], "seed": [int(s) for s in result.seed]}


def _seconds(run: Run, phase: str) -> float:
    """What the run's sittings of a phase took together."""
    return json.loads((run.path / "timings.json").read_text())["seconds"][phase]


def _begun(folder: Path, kind: str) -> Run | None:
    """What an interrupted job has left."""
    try:
        return find_run(folder, kind)
    except SettingsError:
        return None
