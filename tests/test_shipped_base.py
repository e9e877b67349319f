"""The base that is committed with the package."""

from __future__ import annotations

import pytest

from lotj.errors import CheckpointError
from lotj.runs import BASE, base_run
from lotj.sim.connector import catalogue
from lotj.training.localize import load_localizer
from lotj.training.pretrain import load_agent, load_features, load_reward


def test_the_base_is_small_and_names_no_machine() -> None:
    files = [path for path in BASE.rglob("*") if path.is_file()]
    assert BASE / "MODEL_CARD.md" in files and sum(path.stat().st_size for path in files) <= 40e6
    texts = [path.read_text() for path in files if path.suffix in (".json", ".md")]
    assert not any("/work" in text or "/tmp" in text or "/home" in text for text in texts)


def test_the_base_is_whole_and_has_seen_no_connector_that_it_is_measured_on() -> None:
    run = base_run()
    assert load_reward(run).shape == load_agent(run).spec.observation["image"].shape
    tasks = load_features(run).tasks
    assert {task.attributes["robot"] for task in tasks} == {"duo", "trio"}
    seen = [catalogue()[name] for name in {task.attributes["connector"] for task in tasks}]
    held = [part for part in catalogue().values() if part.split != "train"]
    assert not [(part.name, other.name) for part in held for other in seen if part.is_variant_of(other)]


@pytest.mark.parametrize("name", ["localizer", "state-iql", "sac"])
def test_what_the_base_lacks_is_not_trained_into_the_package(name: str) -> None:
    """It comes without the data, and is not the user's to write to."""
    with pytest.raises(CheckpointError, match=f"holds no .*: `lotj pretrain --also {name}` makes a pretraining that"):
        load_localizer(base_run()) if name == "localizer" else load_agent(base_run(), name=name)
