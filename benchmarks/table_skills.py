"""The table's scripted skills and tasks: how often they succeed, beside ways that learn nothing; speed; a film.

python benchmarks/table_skills.py --out results/benchmarks/table_skills.json --film docs/images/table.png
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report

from lotj.envs.registry import expert_of, make_task
from lotj.envs.table import LAYOUTS, WITHOUT_GOAL
from lotj.envs.table_tasks import JOBS, attempt, dropped, pair
from lotj.evaluation.statistics import wilson
from lotj.experiments.chapter_jobs import Replayed, line_of
from lotj.sim.table import Table

from PIL import Image  # isort: skip

LINES: tuple[str, ...] = ("random", "straight", "copy", "expert")  # the expert last: the next copy is of what it did
SHOWN = ("open-drawer", "button", "pick-place", "slide", "slide-then-open", "out-close-slide")


def counted(successes: int, n: int) -> dict[str, Any]:
    """Successes of n, with Wilson's interval."""
    return {"successes": successes, "n": n, "interval": [round(end, 3) for end in wilson(successes, n)]}


def skills(n: int) -> dict[str, Any]:
    """Each skill once from every draw of its task that has a start, none left out; `put` by where it puts."""
    table, found = Table(), defaultdict(Counter)
    for task in (task for task, job in JOBS.items() if len(job.skills) == 1):
        drawn = number = 0
        while drawn < n:
            start, why = attempt(task, JOBS[task].split, np.random.default_rng([77, number]), table)
            number += 1
            if start is not None:
                drawn += 1
                name, *to = start.plan[0]
                where = (f" {to[0]}" if isinstance(to[0], str) else " table") if name == "put" else ""
                found[name + where][why or "done"] += 1
        print(task, drawn, flush=True)
    return {
        name: {**counted(n - sum(k for why, k in whys.items() if why.startswith("not done")), n), **whys}
        for name, whys, n in ((name, whys, whys.total()) for name, whys in found.items())
    }


def tasks(n: int) -> dict[str, Any]:
    """The scripted hand, random actions, going straight, and a copy of what the hand did in the episode before, played
    blindly, from the same starts, by task."""
    found = {}
    for task in JOBS:
        env: Any = make_task(f"table/{task}", observation="state")
        lines = LINES[::3] if task in WITHOUT_GOAL else LINES
        players: dict[str, Any] = {line: line_of(line, f"table/{task}", env) for line in lines}
        counts, steps = dict.fromkeys(lines, 0), []
        for seed in range(1, n + 1):  # the first copy is of seed 0
            for name, player in players.items():
                observation, info = env.reset(seed=seed)
                player.reset(seed)
                truncated, actions, success = False, [], False
                while not truncated and not (name == "expert" and player.finished):
                    actions.append(player(observation, info))
                    observation, _, _, truncated, info = env.step(actions[-1])
                    success = success or info["is_success"]
                # Of the expert the last state counts, of others any.
                counts[name] += info["is_success"] if name == "expert" else success
            steps.append(len(actions))
            if "copy" in players:
                players["copy"] = Replayed(np.array(actions))
        found[task] = {player: counted(count, n) for player, count in counts.items()}
        found[task] |= {"steps": round(float(np.mean(steps)), 1), "limit": env.max_steps, "dropped": dropped(task)}
        if task not in WITHOUT_GOAL:
            scenes = {repr(pair(task, JOBS[task].split, number, number).scene) for number in range(LAYOUTS)}
            found[task]["layouts"] = len(scenes)
        env.close()
        print(task, found[task], flush=True)
    return found


def speed(size: int) -> dict[str, float]:
    """Processor time of a step of the scripted hand on `play` [ms], with and without its picture; steps a second."""
    cost = {}
    for seen in ("state", "image"):
        env = make_task("table/play", observation=seen, image_size=size)
        expert, best = expert_of("table/play", env), np.inf
        for _ in range(4):
            spent, count = 0.0, 0
            for seed in range(6):
                observation, info = env.reset(seed=seed)
                expert.reset(seed)
                for _ in range(50):
                    action = expert(observation, info)
                    started = time.process_time()
                    observation, _, _, _, info = env.step(action)
                    spent, count = spent + time.process_time() - started, count + 1
            best = min(best, spent / count)
        cost[f"{seen}_ms"] = round(1e3 * best, 3)
        env.close()
    return {**cost, "steps_per_s_with_image": round(1e3 / cost["image_ms"])}


def film(path: Path, size: int = 96, frames: int = 10) -> None:
    """One row a task of the scripted hand at work, the goal at the end; the first two at what learners see, 48 px."""
    rows = []
    for number, task in enumerate(SHOWN):
        seen = 48 if number < 2 else size
        env: Any = make_task(f"table/{task}", scene=number, image_size=seen)
        expert: Any = expert_of(f"table/{task}", env)
        observation, info = env.reset(seed=0)
        expert.reset(0)
        pictures = [observation["image"][0]]
        while not expert.finished:
            observation, _, _, _, info = env.step(expert(observation, info))
            pictures.append(observation["image"][0])
        shown = [pictures[at] for at in np.linspace(0, len(pictures) - 1, frames).astype(int)]
        scale = size // seen
        shown = [picture.repeat(scale, 0).repeat(scale, 1) for picture in (*shown, env.picture_of_goal())]
        shown = [np.pad(picture, ((2, 2), (2, 2), (0, 0)), constant_values=255) for picture in shown]
        rows.append(np.concatenate(shown, 1))
        env.close()
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)


def main() -> None:
    """Measure, print, and write figures and film."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of each skill")
    parser.add_argument("--episodes", type=int, default=48, help="of each task, by the scripted hand and at random")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--film", type=Path)
    options = parser.parse_args()
    if options.film:
        film(options.film)
    result = {
        "speed": {size: speed(size) for size in (48, 64)},
        "skills": skills(options.draws),
        "tasks": tasks(options.episodes),
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
