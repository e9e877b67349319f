"""``lotj doctor``: what this machine offers, what of it is slow, and what to change."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from lotj.errors import RendererError
from lotj.extras import EXTRAS

SLOW_FRAMES, SLOW_DISK = 200, 50.0  # frames a second of a renderer, MB/s of a disk
LEAST_DISK, LEAST_MEMORY = 10e9, 4e9  # room for data and runs of the laptop preset, and for its trainings [bytes]

Finding = tuple[str, str, str]  # name, what was found, and what to change; empty where nothing is to be


@dataclass(frozen=True)
class Command:
    """Say what this machine offers (renderer, torch and its threads, memory, disk, extras), what of it is slow, and
    what to change.

    Ends with exit code 3 if there is no renderer.
    """

    def run(self) -> None:
        console = Console(highlight=False, soft_wrap=True)
        for name, finding, change in (*_machine(), *_software(), _disk(Path.cwd())):
            _print(console, name, finding, change)
        from lotj.sim.renderer import renderer_info

        try:
            info = renderer_info()
        except RendererError:
            _print(console, "renderer", "none", "")
            raise
        _print(console, "renderer", info, _of_renderer(info))


def _print(console: Console, name: str, finding: str, change: str) -> None:
    console.print(f"[bold]{name:<10}[/bold]", end="")
    console.print(finding, markup=False)
    if change:
        console.print(f"{'':<10}> {change}", style="yellow", markup=False)


def _machine() -> list[Finding]:
    import torch

    from lotj.nets.precision import fast_dtype
    from lotj.runs.versions import versions

    found = versions()
    cores, threads, gpu = found["cores"], found["threads"], torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "CPU"
    bf16 = fast_dtype("cpu") is not None
    memory, load = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), os.getloadavg()[0]
    by = next((name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(name)), "")
    fewer = f"trainings use {threads} of {cores} cores: " + (f"unset {by}" if by else "see what limits torch's threads")
    slow = "trainings from images take hours: use a GPU, or practise from the base that comes with lotj"
    little = "the trainings of --preset laptop may not fit: --preset demo, or practise from the base"
    processor = f"{found['cpu']}, {cores} cores, {'with' if bf16 else 'without'} fast bfloat16"
    wanted = cores if by else cores / 2
    busy = "others use the cores: stop what need not run" if load > cores else ""
    return [
        ("lotj", f"{found['lotj']}, Python {found['python']}, MuJoCo {found['mujoco']}, NumPy {found['numpy']}", ""),
        ("torch", f"{found['torch']} on {device}, {threads} threads", fewer if threads < wanted else ""),
        ("processor", processor, "" if bf16 or gpu else slow),
        ("load", f"{load:.1f} of {cores} cores", busy),
        ("memory", f"{memory / 1e9:.1f} GB", little if memory < LEAST_MEMORY else ""),
    ]


def _software() -> list[Finding]:
    from lotj.nets.compiled import group_norm_library

    none = "an update from images in bfloat16 takes a third more time: install a C compiler, e.g. gcc"
    if os.environ.get("LOTJ_COMPILE") == "0":
        none = "LOTJ_COMPILE=0 asks for none: unset it"
    there = group_norm_library() is not None
    lacking = {extra: what for extra, (modules, what) in EXTRAS.items() if not all(map(find_spec, modules))}
    words = "; ".join(f"pip install 'lotj[{extra}]' for {what}" for extra, what in lacking.items())
    extras = ", ".join(extra for extra in EXTRAS if extra not in lacking) or "none"
    return [("kernels", "compiled" if there else "none", "" if there else none), ("extras", extras, words)]


def _disk(folder: Path) -> Finding:
    """Room and speed of the disk that a folder is on."""
    usage, block = shutil.disk_usage(folder), os.urandom(2**20)
    room = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB in {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            started = time.perf_counter()
            for _ in range(32):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            rate = 32 * 2**20 / 1e6 / (time.perf_counter() - started)
    except OSError as error:
        return "disk", room, f"cannot be written: {error.strerror}; work in another folder, or name --data and --runs"
    change = "slow: put --data and --runs on a local disk" if rate < SLOW_DISK else ""
    if usage.free < LEAST_DISK:
        change = f"less than {LEAST_DISK / 1e9:.0f} GB: free some, or name --data and --runs elsewhere"
    return "disk", f"{room}; writes {rate:.0f} MB/s", change


def _of_renderer(info: str) -> str:
    """What to change about one that says this of itself."""
    found = re.search(r"(\d+) frames/s", info)
    if found is None or int(found[1]) >= SLOW_FRAMES:
        return ""
    way = "EGL draws faster; as root, `make renderer` installs it on Debian"
    return f"slow: {way if info.startswith('osmesa') else 'a GPU draws faster; or stop what else uses the cores'}"
