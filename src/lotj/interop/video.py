"""Pictures as MP4, by PyAV: what LeRobot keeps of cameras unless it is told otherwise. AV1 as LeRobot writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lotj.errors import DataError, SettingsError
from lotj.extras import library
from lotj.interop.contract import foreign_file

CODEC, PIXELS = "libsvtav1", "yuv420p"
_OPTIONS = {"g": "2", "crf": "30", "preset": "12", "svtav1-params": "lp=1"}


def check_encoder() -> None:
    """Raises SettingsError where no package here makes such videos."""
    if CODEC not in library("av").codecs_available:
        raise SettingsError(
            f"video: the package av here has no {CODEC}; pip install 'lotj[export]' brings a newer one, or leave it out"
        )


class Encoder:
    """Frames of (H, W, 3) uint8 into `file`, one every 1 / rate seconds."""

    def __init__(self, file: BinaryIO, rate: float, height: int, width: int) -> None:
        os.environ.setdefault("SVT_LOG", "1")  # errors alone
        av = library("av")
        self._frame, self.count = av.VideoFrame, 0
        self._file = av.open(file, "w", format="mp4")
        self._stream: Any = self._file.add_stream(CODEC, rate=round(rate), options=_OPTIONS)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, PIXELS

    def add(self, frames: np.ndarray) -> None:
        """Appends (N, H, W, 3)."""
        for picture in frames:
            frame = self._frame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, self.count = self.count, self.count + 1
            self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what is still held back."""
        self._file.mux(self._stream.encode())
        self._file.close()


def decode(path: Path, start: float, count: int, rate: float, where: str) -> np.ndarray:
    """The (count, H, W, 3) frames from `start` [s] on; DataError if the file does not have them."""
    av, frames = library("av"), []
    with foreign_file(path, "a video"), av.open(path) as file:
        stream = file.streams.video[0]
        file.seek(max(0, int((start - 0.5 / rate) / stream.time_base)), stream=stream)
        for frame in file.decode(stream):
            if frame.time is not None and frame.time >= start - 0.5 / rate:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                return np.stack(frames)
    raise DataError(f"{where}: {path} has {len(frames)} of {count} frames from {start:g} s on; copy it again")
