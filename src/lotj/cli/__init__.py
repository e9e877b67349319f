"""The command line: one module a command, each imported only when it is called.

A command module has a dataclass `Command`: its docstring and those of its fields are the help, its fields the flags
(tyro), its method `run` the work, which is to call other parts. If it has them, `default_for` makes the defaults from
the flags (a preset), `interrupted` is what Ctrl-C says, and `resumable` what it says once there is a run. Several
dataclasses, ``List | Show``, are subcommands, of which `USUAL` is done where none is named. A module may have another
dataclass `Resume`, which takes over with ``--resume``. Errors that a user can cause come out as one line.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from lotj.errors import LotjError, StorageError, unknown

COMMANDS = {
    "demo": "practise on an unseen connector from the base that comes with lotj, evaluate, report; --all: from nothing",
    "connectors": "the catalogue: list it, show one connector's dimensions, draw them all",
    "tasks": "what can be learnt: list all tasks, show one's observation, action and options",
    "agents": "who can learn: list all agents, show one's settings and what it learns from",
    "collect": "record prior insertions of the training connectors with the scripted expert",
    "data": "look at recorded episodes: figures, film strips, checksums",
    "pretrain": "train the reward model and the policy on the recorded episodes",
    "practice": "practise on one unseen connector; the robot's own verdict is the only reward",
    "train": "any agent on any task whose environment rewards: demonstrations, practice, evaluation, report",
    "evaluate": "count true successes before and after practice, and of the hand-made baselines",
    "robot": "serve a robot, simulated or a driver of your own, to practice, evaluation and collection elsewhere",
    "report": "make a run's report.html",
    "reproduce": "the paper's tables, from one command each",
    "doctor": "what this machine offers (renderer, threads, memory, disk), what is slow, and what to change",
}
"""Name and one line of each command, in the order of the help."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it, and after SIGTERM and SIGHUP, which end a command likewise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of these words after ``lotj``, those of the process by default, and return the exit code: 0, that
    of the error, `INTERRUPTED`, or 1 after a fault of lotj itself."""
    # Torch's threads wait for each other thousands of times in an update. They spin for some microseconds before they
    # sleep: not at all costs a third of the speed on two cores, for long takes others' turn where cores are short.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # A queue's time limit, `docker stop` and a closed terminal end a command like Ctrl-C, unless `nohup` forbids it.
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) == signal.SIG_DFL:
            signal.signal(name, signal.default_int_handler)
    words = list(sys.argv[1:] if arguments is None else arguments)
    command: Any = None
    try:
        if not words or words[0] in ("-h", "--help"):
            _print_help()
        elif words[0] == "--version":
            import lotj

            print(f"lotj {lotj.__version__}")
        else:
            command = parse(words)
            from lotj.processes import keep_memory
            from lotj.runs.tracking import tracked

            keep_memory()
            with tracked(getattr(command, "wandb", "no")):
                command.run()
        sys.stdout.flush()
    except LotjError as error:
        return _fail(str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        return _fail(_stopped(command), INTERRUPTED, error)
    except BrokenPipeError:  # the reader went away, e.g. `lotj connectors list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # a file of somebody else, a broken link
            message = f"cannot use {error.filename}: {error.strerror}; mend its permissions, or name another"
            return _fail(message, StorageError.exit_code, error)
        kind = type(error).__name__
        return _fail(f"fault in lotj: {kind}: {error}; LOTJ_DEBUG=1 shows where, please report it", 1, error)
    return 0


def parse(words: list[str]) -> Any:
    """Turn the command line into the command's dataclass, whose `run` does it.

    Raises:
        SettingsError: no such command, or a flag that will not do.
        SystemExit: ``--help``, or flags that do not fit; tyro has printed what is wrong.
    """
    name, *flags = words
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS, f"`lotj --help` lists all {len(COMMANDS)}")
    import tyro

    module = importlib.import_module(f"lotj.cli.{name}")
    if hasattr(module, "Resume") and any(flag.partition("=")[0] == "--resume" for flag in flags):
        return tyro.cli(module.Resume, prog=f"lotj {name} --resume", args=module.Resume.words(flags))
    command = module.Command
    options: dict[str, Any] = {"default": module.USUAL} if hasattr(module, "USUAL") else {}
    if hasattr(command, "default_for"):
        options = {"default": command.default_for(flags)}
    if not isinstance(command, type):
        options["description"] = COMMANDS[name]
    return tyro.cli(command, prog=f"lotj {name}", args=flags, **options)


def _stopped(command: Any) -> str:
    """What Ctrl-C says: how to go on, if there is anything to go on with."""
    from lotj.runs import Run

    return (Run.made and getattr(command, "resumable", "")) or getattr(command, "interrupted", "stopped")


def _print_help() -> None:
    print("usage: lotj COMMAND ...   (`lotj COMMAND --help` for its flags)\n")
    for name, line in COMMANDS.items():
        print(f"  {name:<12}  {line}")


def _fail(message: str, code: int, error: BaseException) -> int:
    """Print one red line to stderr, or raise the error again if LOTJ_DEBUG is set."""
    if os.environ.get("LOTJ_DEBUG"):
        raise error
    from rich.console import Console

    sys.stdout.flush()
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    Console(stderr=True, soft_wrap=True).print(line, style="red", markup=False, highlight=False)
    return code
