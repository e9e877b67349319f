"""The episode store: what is read is what was written, resuming, choosing, summing up and looking."""

from __future__ import annotations

import copy
import io
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lotj.data.dataset import Dataset
from lotj.data.inspect import LEGEND, describe, summarise
from lotj.data.pictures import choose, contact_sheet, film_strip, record_rerun, save_png
from lotj.data.store import EpisodeWriter
from lotj.errors import DataError, NumericsError, StorageError
from lotj.experience import KINDS, Domain, Episode

SIZE = 4  # pixels, in most tests: a frame is 4 * 4 * 3 = 48 bytes, a row 3 * 4 + 6 * 4 + 1 = 37 bytes


def domain(name: str = "peg.sawbot.0", split: str = "train") -> Domain:
    return Domain(name=name, connector="peg", family="pegs", robot="sawbot", seed=0, split=split)


def episode(
    seed: int,
    success: tuple[int, ...] = (0, 0, 1),
    kind: str = "expert",
    truncated: bool = False,
    name: str = "peg.sawbot.0",
    size: int = SIZE,
) -> Episode:
    """An episode whose every number follows from its seed and the frame: pixel = 10 seed + step, action = step / 10."""
    n = len(success)
    steps = np.arange(n)
    frames = np.broadcast_to((10 * seed + steps)[:, None, None, None] % 256, (n, size, size, 3)).astype(np.uint8)
    state = np.zeros((n, 6), np.float32)
    state[:, 2] = 0.02 - 0.01 * steps
    state[:, 5] = seed
    return Episode(
        frames=frames,
        actions=np.repeat(steps[:-1, None] / 10, 3, axis=1).astype(np.float32),
        success=np.array(success, bool),
        state=state,
        terminated=bool(success[-1]) and not truncated,
        truncated=truncated,
        domain=name,
        scenario="far",
        kind=kind,
        seed=seed,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def fill(root: Path, *episodes: Episode, **settings: object) -> Path:
    """Writes the episodes, each to its domain; returns the folder of the last domain."""
    for item in episodes:
        with EpisodeWriter(root, domain(item.domain), item.frames.shape[1], settings or None) as writer:
            writer.append(item)
    return root / "domains" / episodes[-1].domain


def assert_same(dataset: Dataset, number: int, expected: Episode) -> None:
    """Every bit of a stored episode is the one given."""
    entry = dataset.episodes[number]
    at = slice(entry["first_frame"], entry["first_frame"] + entry["n_frames"])
    assert (dataset.images(np.arange(at.start, at.stop)) == expected.frames).all()
    assert dataset.frame_action[at][:-1].tobytes() == expected.actions.tobytes()
    assert np.isnan(dataset.frame_action[at][-1]).all()
    assert dataset.frame_state[at].tobytes() == expected.state.tobytes()
    assert (dataset.frame_success[at] == expected.success).all()
    assert (entry["terminated"], entry["truncated"]) == (expected.terminated, expected.truncated)
    assert (KINDS[entry["kind"]], entry["seed"]) == (expected.kind, expected.seed)


# Writing and reading


def test_three_frames_come_back_bit_for_bit(root: Path) -> None:
    folder = fill(root, episode(7))
    dataset = Dataset.open(root)
    assert_same(dataset, 0, episode(7))
    assert (folder / "frames.u8").stat().st_size == 3 * 48
    assert (folder / "frames.tbl").stat().st_size == 3 * 37
    assert dataset.images(np.array([2, 0]))[:, 0, 0, 0].tolist() == [72, 70]
    assert (len(dataset), dataset.n_frames, dataset.image_size, dataset.domains) == (1, 3, SIZE, (domain(),))


def test_square_brackets_in_a_family_are_shown_as_they_are(root: Path) -> None:
    with EpisodeWriter(root, replace(domain(), family="odd [/x]"), SIZE) as writer:
        writer.append(episode(7))
    console = Console(width=120, file=io.StringIO())
    console.print(describe(root))
    assert isinstance(console.file, io.StringIO) and "odd [/x]" in console.file.getvalue()


def test_a_data_set_goes_to_another_process(root: Path) -> None:
    """As a data loader's workers get it (spawn, forkserver), or as a copy."""
    fill(root, episode(7), episode(8))
    for there in (pickle.loads(pickle.dumps(Dataset.open(root))), copy.deepcopy(Dataset.open(root))):
        assert_same(there, 0, episode(7))
        assert_same(there.subset(np.array([False, True])), 0, episode(8))


def test_columns_of_two_domains(root: Path) -> None:
    fill(root, episode(1, (0, 1), name="b"), episode(2, (0, 0, 0), "press", True, "a"), episode(3, (0, 1), name="a"))
    dataset = Dataset.open(root)  # a: press (3 frames), expert (2); b: expert (2)
    assert [d.name for d in dataset.domains] == ["a", "b"]
    assert dataset.episodes["first_frame"].tolist() == [0, 3, 5]
    assert dataset.episodes["success"].tolist() == [False, True, True]
    assert dataset.episodes["success_frames"].tolist() == [0, 1, 1]
    assert dataset.episodes["min_z"].tolist() == pytest.approx([0.0, 0.01, 0.01])
    assert dataset.frame_domain.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert dataset.frame_kind.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert dataset.frame_episode.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dataset.frame_step.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert dataset.images(np.array([6, 0, 4, 6]))[:, 3, 3, 2].tolist() == [11, 20, 31, 11]


def test_transitions_stop_at_success_and_keep_time_outs(root: Path) -> None:
    fill(
        root,
        episode(0, (0, 0, 1)),  # frames 0 1 2
        episode(1, (0, 1, 0, 0), "withdraw", True),  # frames 3 4 5 6: in at 4, out again at 5
        episode(2, (0, 0), "press", True),  # frames 7 8
        episode(3, (1, 1), "half"),  # frames 9 10: starts in success, so it has no transition
    )
    found = Dataset.open(root).transitions()
    assert found.frame.tolist() == [0, 1, 3, 5, 7]
    assert found.reward.tolist() == [0, 1, 1, 0, 0]
    assert found.terminated.tolist() == [False, True, True, False, False]
    assert found.truncated.tolist() == [False, False, False, True, True]
    assert found.action[:, 0].tolist() == pytest.approx([0, 0.1, 0, 0.2, 0])
    assert (found.kind.tolist(), found.domain.tolist()) == ([0, 0, 2, 2, 1], [0] * 5)
    assert (found.frame.dtype, found.reward.dtype, found.domain.dtype) == (np.int64, np.float32, np.int64)
    assert len(found) == 5


def test_success_on_the_last_step_is_not_a_time_out(root: Path) -> None:
    fill(root, episode(0, (0, 0, 1), truncated=True))
    found = Dataset.open(root).transitions()
    assert (found.terminated.tolist(), found.truncated.tolist()) == ([False, True], [False, False])


def test_subset_renumbers_frames_but_not_domains(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 1), "press", name="b"), episode(3, (0, 1), name="b"))
    whole = Dataset.open(root)
    part = whole.subset(np.array([False, True, True])).subset(np.array([False, True]))
    assert part.episodes["first_frame"].tolist() == [0]
    assert part.episodes["seed"].tolist() == [3]
    assert part.frame_domain.tolist() == [1, 1] and part.domains == whole.domains
    assert_same(part, 0, episode(3, (0, 1), name="b"))
    assert part.transitions().frame.tolist() == [0]
    assert whole.episodes["first_frame"].tolist() == [0, 3, 5]  # the original is untouched
    with pytest.raises(DataError, match="none of 3 episodes"):
        whole.subset(np.zeros(3, bool))
    with pytest.raises(ValueError, match="bool"):
        whole.subset(np.array([0, 2]))


def test_domains_are_chosen_by_predicate(root: Path) -> None:
    for name, split in (("a", "train"), ("b", "validation")):
        with EpisodeWriter(root, domain(name, split), SIZE) as writer:
            writer.append(episode(1, name=name))
    assert [d.name for d in Dataset.open(root, lambda d: d.split == "validation").domains] == ["b"]
    with pytest.raises(DataError, match="none of the 2 domains"):
        Dataset.open(root, lambda d: d.split == "test")


@pytest.mark.parametrize("index", [[-1], [3], [[0]], [0.5]])
def test_frame_numbers_out_of_range_are_refused(root: Path, index: list) -> None:
    fill(root, episode(1))
    with pytest.raises(IndexError):
        Dataset.open(root).images(np.array(index))


def test_no_frames_asked_none_given(root: Path) -> None:
    fill(root, episode(1))
    assert Dataset.open(root).images(np.array([])).shape == (0, SIZE, SIZE, 3)


# Resuming


def test_resume_knows_what_is_done_and_goes_on(root: Path) -> None:
    with EpisodeWriter(root, domain(), SIZE, {"noise": 0.2, "box": (1, 2)}) as writer:
        assert writer.finished == set()
        writer.append(episode(1))
        writer.discard("press", "near", 2, "dislodged")
    with EpisodeWriter(root, domain(), SIZE, {"noise": 0.2, "box": (1, 2)}) as writer:
        assert writer.finished == {("expert", 1), ("press", 2)}
        writer.append(episode(3))
        with pytest.raises(ValueError, match="stored or discarded already"):
            writer.append(episode(2, kind="press"))
    dataset = Dataset.open(root)
    assert dataset.episodes["seed"].tolist() == [1, 3]
    assert dataset.discarded == {domain().name: Counter(dislodged=1)}
    assert dataset.settings == {"noise": 0.2, "box": [1, 2]}


def test_one_writer_per_domain(root: Path) -> None:
    with EpisodeWriter(root, domain(), SIZE) as first:
        with pytest.raises(DataError, match="is being written by another process"):
            EpisodeWriter(root, domain(), SIZE)
        with EpisodeWriter(root, domain("other"), SIZE) as second:  # another domain is free
            second.append(episode(1, name="other"))
        first.append(episode(1))
    EpisodeWriter(root, domain(), SIZE).close()
    assert len(Dataset.open(root)) == 2


def test_a_closed_writer_says_so(root: Path) -> None:
    writer = EpisodeWriter(root, domain(), SIZE)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.append(episode(1))


def test_another_size_setting_or_domain_is_refused(root: Path) -> None:
    fill(root, episode(1), noise=0.2)
    with pytest.raises(DataError, match="images of 4 pixels, not 8"):
        EpisodeWriter(root, domain(), 8)
    with pytest.raises(DataError, match="collected with noise = 0.2, not 0.3"):
        EpisodeWriter(root, domain(), SIZE, {"noise": 0.3})
    with pytest.raises(DataError, match="describes Domain"):
        EpisodeWriter(root, domain(split="test"), SIZE)
    with pytest.raises(DataError, match=r"'\.\./x' cannot be a folder"):
        EpisodeWriter(root, domain("../x"), SIZE)
    assert len(Dataset.open(root)) == 1


def test_wrong_episodes_are_refused_and_nothing_is_stored(root: Path) -> None:
    bad = episode(1)
    bad.state[1, 0] = np.inf
    with EpisodeWriter(root, domain(), SIZE) as writer:
        with pytest.raises(NumericsError, match="state of expert episode 1 of peg.sawbot.0 are not all finite"):
            writer.append(bad)
        with pytest.raises(ValueError, match="given to the writer"):
            writer.append(episode(1, name="other"))
        with pytest.raises(ValueError, match="this data set holds"):
            writer.append(episode(1, size=8))
        with pytest.raises(ValueError, match="2 to 32768 frames, not 1"):
            writer.append(episode(1, (1,)))
        with pytest.raises(ValueError, match="'pull'"):
            writer.discard("pull", "far", 1, "dislodged")
        assert writer.finished == set()
    with pytest.raises(DataError, match="holds no finished episode in 1 domains: run `lotj collect` first"):
        Dataset.open(root)


# Looking


def test_summary_and_description(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 0), truncated=True, name="a"), episode(3, (0, 1), "half", name="a"))
    with EpisodeWriter(root, domain("b"), SIZE) as writer:
        writer.discard("expert", "far", 1, "dislodged")
    first, second = summarise(Dataset.open(root))
    assert (first.episodes, first.successes) == ((2, 0, 0, 1, 0), (1, 0, 0, 1, 0))
    assert (first.frames, first.success_frames, first.discarded) == (7, 2, 0)
    assert first.mean_steps == pytest.approx(4 / 3) and first.success_rate == pytest.approx(2 / 3)
    assert (second.frames, second.discarded) == (0, 1)
    assert np.isnan(second.success_rate) and np.isnan(second.mean_steps)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(describe(root, by="domain"))
    text = console.export_text()
    assert "3 episodes: 3 far, 0 near" in text and "7 frames: 28.6% show the plug seated" in text
    assert "discarded episodes: 1 dislodged" in text and "expert 1 of 2, half 1 of 1" in text
    assert all(line in text.splitlines() for line in LEGEND.splitlines())  # not wrapped at 80 columns
    row = next(line for line in text.splitlines() if line.startswith("a "))
    assert row.split() == ["a", "1/2", "-", "-", "1/1", "-", "67%", "7", "1.3", "0"]


def test_summary_of_a_family_adds_up_its_domains(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 0), truncated=True, name="a"))  # 3 and 2 frames
    fill(root, episode(3, name="b"))
    with EpisodeWriter(root, domain("b"), SIZE) as writer:
        writer.discard("expert", "far", 4, "dislodged")
    (peg,) = summarise(Dataset.open(root), "connector")
    assert peg.name == "peg" and peg.episodes[0] == 3 and peg.successes[0] == 2
    assert (peg.frames, peg.success_frames, peg.discarded) == (3 + 2 + 3, 2, 1)
    assert peg.mean_steps == pytest.approx(5 / 3)


def test_film_strip_shows_first_and_last_and_marks_success(root: Path) -> None:
    fill(root, episode(1, (0, 0, 0, 0, 1)))  # pixels 10 11 12 13 14
    strip = film_strip(Dataset.open(root), 0, frames=3, scale=2)
    # A cell is 4 * 2 + 2 * 3 = 14 pixels, the gap 4: three cells take 3 * 18 - 4 = 50.
    assert strip.shape == (14, 50, 3) and strip.dtype == np.uint8
    assert strip[7, [7, 25, 43], 0].tolist() == [10, 12, 14]
    assert strip[0, [0, 18, 36]].tolist() == [[70, 74, 82], [70, 74, 82], [46, 204, 113]]


def test_contact_sheet_is_a_png_with_a_row_an_episode(root: Path, tmp_path: Path) -> None:
    fill(root, episode(1), episode(2), episode(3, kind="press"))
    image = contact_sheet(root, np.random.default_rng(0), rows=2)
    assert image.shape[0] == 2 * (14 + 22 + 8) + 4
    save_png(image, tmp_path / "view" / "sheet.png")
    assert (np.asarray(Image.open(tmp_path / "view" / "sheet.png")) == image).all()
    assert (image == contact_sheet(root, np.random.default_rng(0), rows=2)).all()
    with pytest.raises(DataError, match="holds no episode of kind withdraw: choose others"):
        contact_sheet(root, np.random.default_rng(0), kinds=["withdraw"])
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        save_png(image, tmp_path / "file" / "sheet.png")


def test_choice_takes_each_domain_and_kind_before_a_second(root: Path) -> None:
    experts = [episode(seed, name="a") for seed in range(6)]
    fill(root, *experts, episode(1, kind="press", name="a"), episode(1, name="b"))
    dataset = Dataset.open(root)
    for seed in range(5):
        chosen = choose(dataset, 3, np.random.default_rng(seed))
        assert chosen[1:].tolist() == [6, 7] and chosen[0] < 6
    assert choose(dataset, 99, np.random.default_rng(0)).tolist() == list(range(8))


def test_recording_for_the_viewer(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    fill(root, episode(1))
    record_rerun(Dataset.open(root), [0], tmp_path / "view" / "episodes.rrd")
    assert (tmp_path / "view" / "episodes.rrd").read_bytes()[:3] == b"RRF"
