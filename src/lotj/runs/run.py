"""One run is one folder, ``<root>/<kind>-<date>-<time>``, and ``<root>/last`` a link to the newest.

It holds ``run.json`` (kind, seed, time of creation, command, folder of all runs, format number), ``config.json`` (the
settings, as given), ``versions.json``, JSON lines of metrics, ``tensorboard/`` with the same scalars, and
``checkpoints/<name>.pt``. torch is imported only where a checkpoint or TensorBoard is written.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pickle
import shlex
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import lotj
from lotj.errors import CheckpointError, DataError, SettingsError
from lotj.experience import INSERTION
from lotj.files import atomic_file, atomic_write, read_object, storage_errors, write_json
from lotj.ranges import SEED
from lotj.runs.metrics import append_line, plain, read_lines
from lotj.runs.tracking import TRACKING, Tracker
from lotj.runs.versions import versions

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FORMAT = 1

BASE = Path(lotj.__file__).resolve().parent / "base"
"""A finished pretraining that comes with lotj, a run folder like any other, without what only more training needs
(optimisers' moments, data, logs). ``scripts/make_base.py`` makes it; its MODEL_CARD.md says of what."""

_claimed: dict[Path, int] = {}
"""Folders that this process writes to -> descriptor of the file that is locked."""


class Run:
    """A run folder, open for reading and writing: made with `create`, `open` or `find_run`; close it, or use `with`.

    What writes (`log`, `rewind`, `save`) claims the folder for this process until `close`, and raises a SettingsError
    where another has claimed it: its trials and checkpoints would be mixed with these.

    Attributes:
        made: of the class: whether this process has made a run, or has written to one.
        path: the folder.
        kind, seed: what ran, ``pretrain`` or ``practice``, and the seed of its random numbers.
        created, command: when (ISO text, in the order of time), and by which command line; "" if not recorded.
        config: the settings as plain JSON values.
    """

    made: ClassVar[bool] = False

    def __init__(self, path: Path, about: dict[str, Any], config: dict[str, Any]) -> None:
        self.path = path
        self.kind: str = about["kind"]
        self.seed: int = about["seed"]
        self.created = str(about.get("created", ""))
        self.command = str(about.get("command", ""))
        self.config = config
        self._root = about.get("root")
        self._boards: dict[str, SummaryWriter] = {}
        self._tracker: Tracker | None = None
        self._new = False
        self._before: Path | None = None  # where ``last`` led when this was made

    @classmethod
    def create(cls, root: Path, kind: str, config: Any, seed: int) -> Self:
        """Make a new run folder under `root`, with settings of a dataclass or dictionary; ``<root>/last`` points to it.
        SettingsError for a seed that not every generator takes, StorageError if it cannot be written."""
        SEED.check("seed", seed)
        path = _new_folder(Path(root), kind)
        settings = plain(dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config)  # type: ignore[arg-type]
        about = {"format": FORMAT, "kind": kind, "seed": seed, "created": datetime.now().isoformat()}
        about |= {"command": typed_command(), "root": str(path.parent)}
        write_json(path / "config.json", settings)
        write_json(path / "versions.json", versions())
        write_json(path / "run.json", about)  # last: a folder with this file is a whole run
        run, last = cls(path, about, settings), Path(root) / "last"
        run._new, run._before = True, Path(os.path.realpath(last)) if last.is_symlink() else None
        _point(last, path)
        Run.made = True
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing run folder (a link such as ``runs/last`` is followed); SettingsError if it is none, or of
        another format."""
        path = Path(os.path.realpath(path))  # which goes round no link for ever
        try:
            about, config = read_object(path / "run.json"), read_object(path / "config.json")
        except DataError:
            about, config = {}, {}
        if type(about.get("kind")) is not str or type(about.get("seed")) is not int:
            raise SettingsError(f"{path}: not a run folder (no readable run.json and config.json in it)")
        if about.get("format") != FORMAT:
            raise SettingsError(f"{path}: run of format {about.get('format')!r}, this lotj reads format {FORMAT}")
        return cls(path, about, config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close TensorBoard and what else is told; others may write."""
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None
        while self._boards:
            self._boards.popitem()[1].close()
        if self.path in _claimed:
            os.close(_claimed.pop(self.path))

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """A run that has just been made goes again where, within this, something is refused before anything is learnt;
        then ``last`` is what it was."""
        try:
            yield
        except (SettingsError, CheckpointError):
            if self._new and not [*self.path.glob("*.jsonl"), *self.path.glob("checkpoints")]:
                self.close()
                shutil.rmtree(self.path)
                link = self.path.parent / "last"
                if link.resolve() == self.path:
                    link.unlink()
                    if self._before is not None:
                        _point(link, self._before)
            raise

    def setting(self, name: str, kind: type = str) -> Any:
        """A setting; SettingsError if it is missing, or of another type."""
        value = self.config.get(name)
        if type(value) is not kind:
            raise SettingsError(
                f"{self.path / 'config.json'}: {name} is {value!r}, not a {kind.__name__}; restore the file from a copy"
            )
        return value

    @property
    def self_judged(self) -> bool:
        """Whether it practises on a connector, where a robot judges itself."""
        return self.setting("task").startswith(INSERTION)

    def locate(self, name: str, holds: str) -> Path:
        """The folder that a setting names, told from others by a file that it holds. Runs are moved: it is looked for
        beside the run, where it was, and where it stood to the run; SettingsError if it is in none of these places."""
        recorded = Path(self.setting(name))
        places = [self.path.parent / recorded.name, recorded]
        if isinstance(self._root, str):
            places.append((self.path.parent / os.path.relpath(recorded, self._root)).resolve())
        for place in places:
            if (place / holds).is_file():
                return place
        raise SettingsError(
            f"{self.path / 'config.json'}: {name} is {recorded}, which is not there; move or link it to {places[0]}"
        )

    def log(self, step: int, scalars: dict[str, Any], stream: str = "metrics") -> None:
        """Append one line to ``<stream>.jsonl`` and the numbers in it to TensorBoard (as ``<stream>/<name>``).

        `step` is the number of an update, trial or episode. Scalars are Python's, NumPy's or torch's; those not finite
        are written as null, and texts are kept too. StorageError if the disk is full.
        """
        _claim(self.path)
        record = plain(scalars)
        append_line(self.path / f"{stream}.jsonl", {"step": int(step), "time": round(time.time(), 3), **record})
        if stream not in self._boards:
            from torch.utils.tensorboard import SummaryWriter

            # A folder for each stream: a purge voids all points of its folder, and steps count other things elsewhere.
            self._boards[stream] = SummaryWriter(str(self.path / "tensorboard" / stream), purge_step=step)
        for name, value in record.items():
            if isinstance(value, (int, float)):
                self._boards[stream].add_scalar(f"{stream}/{name}", value, step)
        if (mode := TRACKING.get()) != "no":
            about = self.config | {"seed": self.seed, "kind": self.kind}
            self._tracker = self._tracker or Tracker(self.path, about, mode)
            self._tracker.log(stream, int(step), record)

    def metrics(self, stream: str = "metrics") -> list[dict[str, Any]]:
        """All complete lines of a stream, oldest first; a torn last line is left out."""
        return read_lines(self.path / f"{stream}.jsonl")

    def sync(self) -> None:
        """Have the metrics survive a power cut, as the checkpoint does that is to follow."""
        with open(self.path / "metrics.jsonl", "rb") as file:
            os.fsync(file.fileno())

    def rewind(self, step: int, stream: str = "metrics") -> None:
        """Drop the lines of a stream after `step`: a run resumed from a checkpoint of `step` will write them again.
        TensorBoard's files stay as they are; the next one says that earlier points from its first on are void."""
        _claim(self.path)
        if stream in self._boards:
            self._boards.pop(stream).close()
        lines = self.metrics(stream)
        kept = [line for line in lines if line["step"] <= step]
        if len(kept) < len(lines):
            atomic_write(self.path / f"{stream}.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def save(self, name: str, state: dict[str, Any]) -> Path:
        """Save a checkpoint of tensors, numbers, texts, and dictionaries, lists and tuples of them: whole, or the one
        that it replaces stays. StorageError if the disk is full."""
        import torch

        _claim(self.path)
        path = self._checkpoint(name)
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                # torch closes its archive after a failed write, and that error hides the first.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
        return path

    def has(self, name: str) -> bool:
        """Whether there is a checkpoint of that name."""
        return self._checkpoint(name).exists()

    def load(self, name: str, device: str = "cpu") -> dict[str, Any]:
        """Load a checkpoint's `state`; CheckpointError if it is missing, torn, or holds something else."""
        path = self._checkpoint(name)
        if not path.exists():
            there = ", ".join(sorted(p.stem for p in path.parent.glob("*.pt"))) or "none"
            raise CheckpointError(f"{path}: no such checkpoint (there: {there})")
        return load_tensors(path, device)

    def _checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.pt"


def load_tensors(path: Path, device: str = "cpu") -> Any:
    """What `torch.save` wrote to a file. Runs no code from it: only tensors and plain values are accepted;
    CheckpointError if it is torn or holds something else."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, zipfile.BadZipFile, pickle.UnpicklingError):
        raise CheckpointError(f"{path}: torn or not a lotj checkpoint; delete it and make it again") from None


def find_run(root: Path, kind: str, result: str = "", folders: Sequence[str] = ("*",)) -> Run:
    """The newest run of a kind in `folders` under `root`, patterns as of a shell; what is no run of this
    format is passed over, and so are runs without the file `result`, unless none has it. SettingsError if there is
    none; the message says which kinds there are."""
    root, runs, odd = Path(root), [], []
    for found in (path for folder in folders for path in root.glob(f"{folder}/run.json")):
        try:
            runs += [Run.open(found.parent)] if found.parent.name != "last" else []
        except SettingsError as error:
            odd.append(str(error))
    chosen = [run for run in runs if run.kind == kind]
    if not chosen:
        there = ", ".join(sorted({run.kind for run in runs})) or "nothing"
        passed = f"; passed over: {odd[0]}" if odd else ""
        raise SettingsError(f"{root}: no {kind} run here (there: {there}); give the folder of one, or make one{passed}")
    whole = [run for run in chosen if (run.path / result).exists()]
    return max(whole or chosen, key=lambda run: (run.created, run.path.name))


def read_timings(path: Path) -> dict[str, Any]:
    """``machine`` and ``seconds`` (phase -> number) of a run's timings.json; DataError if it is damaged."""
    timings = read_object(path)
    try:
        seconds = {phase: float(value) for phase, value in timings["seconds"].items()}
        return {"machine": str(timings["machine"]), "seconds": seconds}
    except (KeyError, AttributeError, TypeError, ValueError):
        raise DataError(f"{path}: an entry is missing or damaged; restore it from a copy") from None


def base_run() -> Run:
    """The run in `BASE`; SettingsError if this lotj has come without, or it is damaged."""
    if not BASE.is_dir():
        raise SettingsError(f"{BASE}: this lotj has come without its base; install it again, or name a --pretrained")
    return Run.open(BASE)


def typed_command() -> str:
    """The command line of this process, as it can be given to a shell."""
    program = Path(sys.argv[0])
    return shlex.join([program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]])


def _claim(folder: Path) -> None:
    """Claim a run folder for this process, until it lets go of it or ends in whatever way; SettingsError if another
    process has. The lock is on the folder's ``run.json``; a file system that knows no locks lets everybody in."""
    if folder in _claimed:
        return
    descriptor = os.open(folder / "run.json", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        rule = "another process writes to this run; end it, or wait until it has ended"
        raise SettingsError(f"{folder}: {rule}") from None
    except OSError:
        pass
    _claimed[folder] = descriptor
    Run.made = True


def _new_folder(root: Path, kind: str) -> Path:
    """Make ``<root>/<kind>-<date>-<time>``, numbered if two runs start within one second."""
    stem = f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        path, number = root / stem, 1
        while True:
            try:
                path.mkdir()
                return path.resolve()
            except FileExistsError:
                number += 1
                path = root / f"{stem}-{number}"


def _point(link: Path, target: Path) -> None:
    """Point the symbolic link at `target`, in one step."""
    if link.is_dir() and not link.is_symlink():  # copies of runs may have a folder for it, which nobody may delete
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    with storage_errors(link):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target.name, target_is_directory=True)
        os.replace(temporary, link)
