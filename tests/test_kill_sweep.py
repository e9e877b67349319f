"""One kill -9 of each job of `benchmarks/kill_sweep.py`. What each part promises alone is held by the fast tests:
test_data_crash, test_collect, test_data_upgrade, test_interop, test_pretrain, test_practice, test_runs, test_stages."""

from __future__ import annotations

from pathlib import Path

import kill_sweep  # pyright: ignore[reportMissingImports]
import numpy as np
import pytest


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a folder with spaces")


@pytest.mark.slow
@pytest.mark.parametrize("name", kill_sweep.JOBS)
def test_a_job_killed_once_and_begun_again_leaves_what_an_uninterrupted_one_leaves(work: Path, name: str) -> None:
    pytest.importorskip("h5py", reason="pip install 'lotj[export]'")
    pytest.importorskip("msgpack", reason="pip install 'lotj[robot]'")
    found = kill_sweep.attempt(name, work, np.random.default_rng(0), 1)
    assert found["problems"] == [] and found["kills"] <= 1


@pytest.mark.slow
def test_what_is_lost_or_another_is_found(work: Path) -> None:
    """The sweep itself can fail: a byte of a recorded episode, a line of metrics."""
    whole, _ = kill_sweep.reference(work)
    before = kill_sweep.digest(whole / "practise")
    (metrics,) = (whole / "practise" / "runs").glob("practice-*/metrics.jsonl")
    metrics.write_bytes(metrics.read_bytes().replace(b'"trial": 3', b'"trial": 4'))
    after = kill_sweep.digest(whole / "practise")
    assert [name for name in before if before[name] != after[name]] == ["metrics.jsonl"]
    (rows,) = (whole / "collect" / "data").rglob("tasks/usb-a*/image.raw")
    assert kill_sweep.whole(whole / "collect") == []
    content = bytearray(rows.read_bytes())
    content[1000] ^= 255
    rows.write_bytes(content)
    assert len(kill_sweep.whole(whole / "collect")) == 1
