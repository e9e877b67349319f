"""``lotj data``: look at recorded episodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich import get_console

from lotj.cli.job import progress_bars, say
from lotj.errors import DataError, SettingsError, counted
from lotj.ranges import COUNT, POSITIVE, SEED, Checked

DATA = Path("data/laptop")
"""Where `lotj collect` puts its episodes unless told otherwise."""
VIEWS = (".png", ".rrd")
"""Endings of what `lotj data view` writes."""


@dataclass(frozen=True)
class Info:
    """Figures of a data set: episodes of each kind, how they ended, frames, and what was discarded."""

    root: tyro.conf.Positional[Path] = DATA
    """Folder of the data set."""
    by: str = "env"
    """What the tasks of a row share: env, task, split, or an attribute such as family or connector."""

    def run(self) -> None:
        from lotj.data.inspect import describe

        get_console().print(describe(self.root, self.by))


@dataclass(frozen=True)
class View(Checked):
    """Film strips of some episodes as a PNG, success with a green border; or a recording for the Rerun viewer."""

    root: tyro.conf.Positional[Path] = DATA
    """Folder of the data set, or of a practice run, whose trials are shown."""
    out: Path = Path("episodes.png")
    """File to write; with the ending .rrd, a recording that `rerun <file>` plays."""
    seeds: tuple[int, ...] = ()
    """Show the episodes of these seeds, all of them; a trial of practice has its number for a seed."""
    rows: Annotated[int, COUNT] = 12
    """Episodes shown, of as many tasks and kinds as fit."""
    seed: Annotated[int, SEED] = 0
    """Draws the episodes."""

    def run(self) -> None:
        """DataError where none of the episodes has one of the seeds; SettingsError for another ending."""
        import numpy as np

        from lotj.data.layout import META
        from lotj.data.pictures import caption, choose, draw_rows, film, record_rerun
        from lotj.data.store import DiskStore
        from lotj.files import atomic_write, storage_errors

        if self.out.suffix not in VIEWS:
            raise SettingsError(f"out {self.out}: must end with {' or '.join(VIEWS)}")
        practised = (self.root / "run.json").exists() and not (self.root / META).exists()
        store = DiskStore.open(self.root / "trials" if practised else self.root)
        episodes = np.flatnonzero(np.isin(store.episodes["seed"], self.seeds)).tolist()
        if self.seeds and not episodes:
            raise DataError(f"{self.root}: no episodes of the seeds {self.seeds}; leave them out to have some drawn")
        episodes = episodes or choose(store, self.rows, np.random.default_rng(self.seed)).tolist()
        if self.out.suffix == ".rrd":
            record_rerun(store, episodes, self.out)
        else:
            picture = draw_rows([(caption(store, episode), [""], [film(store, episode)]) for episode in episodes])
            with storage_errors(self.out):
                self.out.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.out, picture)
        print(self.out)


@dataclass(frozen=True)
class Check:
    """Read every byte of a data set and compare it with its checksums; for damage: what to do, and exit code 2."""

    root: tyro.conf.Positional[Path] = DATA
    """Folder of the data set."""

    def run(self) -> None:
        from lotj.data.inspect import check

        with progress_bars() as show:
            problems = check(self.root, partial(show, "checking"))
        for problem in problems:
            print(problem)
        if problems:
            raise DataError(
                f"{self.root}: {counted(len(problems), 'problem')}; each line on the standard output says what to do"
            )
        print(f"{self.root}: whole, every episode matches its checksum")


@dataclass(frozen=True)
class Upgrade:
    """Make a data set of format 2 of one of format 1, which stays as it is. Stopped, it goes on when given again."""

    old: tyro.conf.Positional[Path]
    """Folder of the data set of format 1."""
    new: tyro.conf.Positional[Path]
    """Folder to make."""

    def run(self) -> None:
        from lotj.data.upgrade import upgrade

        with progress_bars() as show:
            upgrade(self.old, self.new, partial(show, "upgrading"))
        print(self.new)


@dataclass(frozen=True)
class Export(Checked):
    """Write a data set in a format of other software. Stopped, it goes on when given again."""

    out: tyro.conf.Positional[Path]
    """What to make: of lerobot and minari a folder, of robomimic a file."""
    to: Literal["lerobot", "robomimic", "minari"]
    """LeRobotDataset v3.0, HDF5 as robomimic reads it, or a data set of Minari."""
    data: Path = DATA
    """Folder of the data set."""
    truth: bool = False
    """Write what only a simulator knows, too."""
    rate: Annotated[float | None, POSITIVE] = None
    """Frames a second [Hz]; by default 10, or those of the data set that it was imported from."""

    video: bool = False
    """Of lerobot: pictures as MP4 (AV1), smaller and not exact."""

    def run(self) -> None:
        from lotj.interop.exchange import export

        with progress_bars() as show:
            export(self.data, self.to, self.out, self.truth, self.rate, self.video, partial(show, "exporting"))
        print(self.out)


@dataclass(frozen=True)
class Import(Checked):
    """Make a data set of one that other software recorded. Stopped, it goes on when given again."""

    source: tyro.conf.Positional[Path]
    """Of lerobot and minari a folder, of robomimic a file."""
    out: tyro.conf.Positional[Path]
    """Folder to make."""
    of: Annotated[Literal["lerobot", "robomimic", "minari"], tyro.conf.arg(name="from")]
    """LeRobotDataset v3.0, HDF5 of robomimic, or a data set of Minari."""
    map: Path | None = None
    """TOML file: which of their names, cameras, axes and rates become ours (docs/interoperability.md)."""

    def run(self) -> None:
        from lotj.interop.exchange import import_

        with progress_bars() as show:
            import_(self.source, self.of, self.out, self.map, partial(show, "importing"))
        print(self.out)
        if self.map is not None:
            self._say_unknown(self.map)

    @staticmethod
    def _say_unknown(path: Path) -> None:
        """Names tasks that are none of ours: they may be a script's own, or mistyped."""
        from lotj.envs.registry import find_task
        from lotj.interop.mapping import read_map

        mapped = read_map(path)
        for name in dict.fromkeys([mapped.task, *mapped.tasks.values()]):
            try:
                _ = name and find_task(name)
            except SettingsError as error:
                say(f"{error}; until it is, its data can be trained on, not practised with")


Command = Info | View | Check | Upgrade | Export | Import
