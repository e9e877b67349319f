"""LeRobot's own side of a data set, run by the Python of `setup_lerobot.sh`; lotj is not imported.

``read FOLDER FILE.npz`` opens a data set with `LeRobotDataset` and stores every column that it gives out, stacked.
``write FOLDER EPISODES.npz`` records one with LeRobot's own writer: arrays ``<key>`` of all frames in a row, and
``length`` of each episode; pictures are uint8 (N, H, W, 3), at 10 Hz.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402  # type: ignore[import-not-found]


def read(folder: str, into: str) -> None:
    """Stores what a training would see."""
    data = LeRobotDataset("local/data", root=folder)
    rows = [data[number] for number in range(len(data))]
    columns = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}
    stats = {f"stats/{key}/{name}": v for key, figures in data.meta.stats.items() for name, v in figures.items()}
    np.savez(into, episodes=data.num_episodes, fps=data.fps, **columns, **stats)


def write(folder: str, source: str) -> None:
    """Records episodes."""
    arrays = dict(np.load(source))
    lengths = arrays.pop("length")
    features = {}
    for key, values in arrays.items():
        picture = values.ndim == 4
        names = ["height", "width", "channels"] if picture else [f"{key}_{n}" for n in range(values.shape[1])]
        features[key] = {"dtype": "image" if picture else str(values.dtype), "shape": values.shape[1:], "names": names}
    data = LeRobotDataset.create("local/data", fps=10, features=features, root=folder, use_videos=False)
    start = 0
    for length in lengths.tolist():
        for row in range(start, start + length):
            data.add_frame({**{key: values[row] for key, values in arrays.items()}, "task": "reach the ball"})
        data.save_episode()
        start += length
    data.finalize()


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
