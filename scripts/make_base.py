"""Make the base that comes with lotj out of a finished pretraining on connectors, with its model card.

    python scripts/make_base.py RUN             # into src/lotj/base, anew
    python scripts/make_base.py RUN FOLDER      # elsewhere, e.g. for `lotj practice --pretrained FOLDER`
    python scripts/make_base.py src/lotj/base   # its card alone, anew

The base is a run folder that practice opens like any other. What only more training needs stays behind: optimisers'
moments, the reward's checkpoint, metrics; and so does where on this machine it was made. Every figure of the card is
read from the run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch

from lotj.errors import LotjError, SettingsError
from lotj.files import atomic_file, atomic_write, write_json
from lotj.runs import BASE, Run
from lotj.training.features import FeatureStore
from lotj.training.pretrain import REWARD_FILE, load_agent, load_features, load_reward

LIMIT_MB = 40
"""The most that a base may hold [million bytes]."""

CARD = "MODEL_CARD.md"
ROOT = Path(__file__).resolve().parent.parent


def make_base(run: Run, folder: Path, limit_mb: float = LIMIT_MB) -> list[str]:
    """Writes the base of a pretraining into a folder, in place of one that is there; returns its lines of sizes.

    Raises:
        SettingsError: `folder` is no base, the run's settings do not name its agent, or the base is too large.
        CheckpointError: the run is not finished, or damaged.
    """
    if folder.exists() and not (folder / CARD).exists():
        raise SettingsError(f"{folder}: there, and no base (it has no {CARD}); name another folder, or none")
    if folder.resolve() == run.path:
        return write_card(folder)
    agent = run.setting("agent")
    load_reward(run)  # whatever is missing is said before anything is touched
    load_agent(run, name=agent)
    load_features(run, agent)
    state = run.load(agent)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "checkpoints").mkdir(parents=True)
    for name in (REWARD_FILE, "reward_report.json", f"{agent}_report.json", f"{agent}_features.npz"):
        atomic_write(folder / name, (run.path / name).read_bytes())
    for name in ("versions.json", "timings.json"):
        atomic_write(folder / name, (run.path / name).read_bytes())
    with atomic_file(folder / "checkpoints" / f"{agent}.pt") as file:
        torch.save(state | {"agent": state["agent"] | {"moments": {}}}, file)
    data = Path(run.setting("data")).name
    write_json(folder / "config.json", run.config | {"data": data})
    about = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    del about["root"]
    write_json(folder / "run.json", about | {"command": cleaned_command(run)})
    lines = write_card(folder)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if total > limit_mb:
        raise SettingsError(f"{folder}: {total:.1f} MB, must be at most {limit_mb}; pretrain with fewer features")
    return [*lines, f"{folder}: {total:.2f} MB"]


def write_card(folder: Path) -> list[str]:
    """Writes the card of a base from its other files; returns a line for the size of each."""
    base, files = Run.open(folder), sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    agent = base.setting("agent")
    atomic_write(folder / CARD, _card(base, load_features(base, agent), base.load(agent), sizes).encode())
    return [f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()]


def cleaned_command(run: Run) -> str:
    """The run's command without the folders of this machine."""
    kept, words = [], iter(shlex.split(run.command))
    for word in words:
        name = word.partition("=")[0]
        if name not in ("--data", "--runs"):
            kept.append(word)
        elif name == word:
            next(words, None)
    return shlex.join(kept)


def _card(run: Run, features: FeatureStore, state: dict[str, Any], sizes: dict[str, int]) -> str:
    """The model card, in Markdown."""

    def read(name: str) -> dict[str, Any]:
        return json.loads((run.path / name).read_text(encoding="utf-8"))

    agent = run.setting("agent")
    reward, versions, timings = read("reward_report.json"), read("versions.json"), read("timings.json")
    policy, made = read(f"{agent}_report.json")["validation"]["overall"], reward["overall"]
    of = [task.attributes for task in features.tasks]
    parts, robots, families = (sorted({task[key] for task in of}) for key in ("connector", "robot", "family"))
    worst = min(reward["connectors"], key=lambda name: reward["connectors"][name]["auc"])
    figures = {
        "reward: area under the ROC curve": made["auc"],
        "reward: the same against near misses alone": made["near_miss_auc"],
        f"reward: area, worst connector ({worst})": reward["connectors"][worst]["auc"],
        f"reward: precision at the threshold, {reward['threshold']:.3f}": made["precision"],
        "reward: recall there": made["recall"],
        "reward: accuracy there": made["accuracy"],
        "reward: accuracy, each connector at the threshold of the others": made["accuracy_left_out"],
        "policy: correlation of V with the true return": policy["value_correlation"],
        "policy: angle to where the socket is, sideways [degrees]": policy["angle_deg"],
        "policy: error of the sideways step [mm]": policy["lateral_error_mm"],
    }
    minutes, named = timings["seconds"]["pretrain"] / 60, ("lotj", "python", "torch", "mujoco", "numpy")
    image = " x ".join(map(str, state["agent"]["spec"]["observation"]["image"]["shape"]))
    paragraphs = {
        "what": f"A reward model (success classifier) and an agent ({agent}) that see two wrist cameras, with features "
        "of the data that they learnt from, for practice to go on learning from. Made by scripts/make_base.py from "
        "the files of one pretraining; not to be edited.",
        "data": f"{state['episodes']} simulated episodes of a scripted expert and of staged near misses, on "
        f"{len(state['tasks'])} benches (a connector, a robot, a draw of all else): "
        f"{len(parts)} connectors of {len(families)} families, robots {' and '.join(robots)}. "
        f"Kept as features: {len(features)} transitions. Threshold and "
        f"figures are from {len(reward['connectors'])} validation connectors: {', '.join(reward['connectors'])}.",
        "parts": f"Training connectors: {', '.join(parts)}.",
        "made": f"Seed {run.seed}, begun {run.created[:16].replace('T', ' ')}, {minutes:.0f} minutes "
        f"({timings['machine']}). {', '.join(f'{name} {versions[name]}' for name in named)}, "
        f"commit: {versions.get('commit') or 'not recorded'}.",
        "figures": f"All of them are in reward_report.json and {agent}_report.json. They are of single frames, before "
        "any practice; how often a connector is inserted is counted by `lotj evaluate`.",
        "robots": f"- It has seen the robots {' and '.join(robots)} alone, and takes images of {image} (cameras, "
        "height, width, colours) and no others.",
        "reward": "- The reward ranks frames better than it scores them: what one connector's successes score, "
        "another's near misses do. For that reason practice calibrates the threshold and verifies by touch.",
        "seen": "- A part that is a close variant of a training connector is refused, for it is not an unseen one.",
        "slim": "- Features are of 8 bits, and the optimisers' moments are left out: practice from here is not bit for "
        "bit practice from the pretraining itself.",
    }
    text = {name: textwrap.fill(words, 100, break_on_hyphens=False) for name, words in paragraphs.items()}
    text["collect"], text["pretrain"] = f"lotj collect --preset {run.setting('preset')}", cleaned_command(run)
    text["table"] = "\n".join(f"| {name} | {_figure(value)} |" for name, value in figures.items())
    text["files"] = "\n".join(f"- `{name}`: {size / 1e6:.2f} MB" for name, size in sorted(sizes.items()))
    text["licence"] = (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()[0]
    return TEMPLATE.format(**text)


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


TEMPLATE = """# Model card: the base of lotj

{what}

## Data

{data}

{parts}

## How it was made

```sh
{collect}
{pretrain}
```

{made}

## Figures on the validation connectors

| figure | value |
| --- | --- |
{table}

{figures}

## Limits

- Simulation alone: no image of a real camera, no real contact.
{robots}
{reward}
{seen}
{slim}

## Files

{files}

## Licence

{licence}, as lotj.
"""


def main() -> int:
    """Make it, and print what is large in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished pretraining")
    parser.add_argument("folder", type=Path, nargs="?", default=BASE, help="of the base")
    options = parser.parse_args()
    try:
        print("\n".join(make_base(Run.open(options.run), options.folder)))
    except LotjError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
