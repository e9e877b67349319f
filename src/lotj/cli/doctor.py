"""``lotj doctor``: what this machine offers."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lotj.errors import RendererError


@dataclass(frozen=True)
class Command:
    """Say what this machine offers: renderer and its frame rate, torch and its threads, memory and disk.

    Ends with exit code 3 if there is no renderer.
    """

    def run(self) -> None:
        console = Console(highlight=False, soft_wrap=True)
        for name, finding in _findings():
            console.print(f"[bold]{name:<10}[/bold]", end="")
            console.print(finding, markup=False)
        from lotj.sim.renderer import renderer_info

        try:
            info = renderer_info()
        except RendererError:
            console.print("[bold]renderer[/bold]  none")
            raise
        console.print(f"[bold]renderer[/bold]  {info}")


def _findings() -> list[tuple[str, str]]:
    """Name and finding of everything but the renderer."""
    import torch

    from lotj.nets.compiled import group_norm_library
    from lotj.nets.precision import fast_dtype
    from lotj.runs.versions import versions

    found = versions()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    bf16 = fast_dtype("cpu") is not None
    disk = shutil.disk_usage(Path.cwd())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        ("lotj", f"{found['lotj']}, Python {found['python']}, MuJoCo {found['mujoco']}, NumPy {found['numpy']}"),
        ("torch", f"{found['torch']} on {device}, {found['threads']} threads"),
        ("processor", f"{found['cpu']}, {found['cores']} cores, {'with' if bf16 else 'without'} fast bfloat16"),
        ("kernels", "compiled" if group_norm_library() else "none: a C compiler would make bfloat16 trainings faster"),
        ("memory", f"{memory / 1e9:.1f} GB"),
        ("disk", f"{disk.free / 1e9:.1f} GB free of {disk.total / 1e9:.1f} GB in {Path.cwd()}"),
    ]
