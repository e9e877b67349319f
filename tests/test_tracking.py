"""Metrics on Weights & Biases, offline: what a run logs is there, and nothing where nobody has asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lotj.cli import main
from lotj.errors import SettingsError
from lotj.runs import Run
from lotj.runs.tracking import TRACKING, tracked


def test_without_the_package_one_line_says_which_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(SettingsError, match=r"package wandb .*: pip install 'lotj\[wandb\]'"),
        tracked("offline"),
    ):
        pass
    words = ["practice", "--connector", "usb-b", "--wandb", "offline", "--runs", str(tmp_path / "runs")]
    assert main(words) == SettingsError.exit_code
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "runs").exists()
    with tracked("no"):
        assert TRACKING.get() == "no"


def test_offline_metrics_lie_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams with steps of their own; what is no number, or logged outside, is not sent."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    run = Run.create(tmp_path, "practice", {"connector": "usb-b"}, seed=7)
    run.log(1, {"unsent": 1.0})
    with tracked("offline"):
        run.log(1, {"score": 0.25, "why": "text"})
        run.log(900, {"loss": 2.0}, stream="reward")
        run.close()
    (file,) = (run.path / "wandb").glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    for name in (b"metrics/score", b"metrics/step", b"reward/loss", b"reward/step", b"usb-b"):
        assert name in content, name
    assert b"metrics/why" not in content and b"unsent" not in content
    assert [line["step"] for line in run.metrics()] == [1, 1]
    assert not (tmp_path / "wandb").exists()
