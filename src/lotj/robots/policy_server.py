"""A policy that is served elsewhere, by the protocol of openpi's policy server, as a controller here.

The protocol (github.com/Physical-Intelligence/openpi, `openpi_client.websocket_client_policy` and `msgpack_numpy`): a
WebSocket; the server first sends its metadata; each observation, a msgpack map with NumPy arrays as maps of their
``__ndarray__``, ``data``, ``dtype`` and ``shape``, is answered by a map whose ``actions`` (T, A) are a chunk, the
next T actions, or by a text that tells of a fault.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from lotj.errors import RobotError, SettingsError
from lotj.experience import Observation
from lotj.extras import library
from lotj.robots import wire

KEY = "LOTJ_POLICY_KEY"
"""Environment variable of the API key that is sent, if it is set."""

ANSWER_S = 60.0
"""So long a chunk may take: the first one often compiles the policy."""

CAMERAS = ("observation/image", "observation/wrist_image")
"""Names of the first two views, as in openpi's LIBERO example; further ones are ``observation/image_2`` and so on."""


class RemotePolicy:
    """See `lotj.experience.Controller`. Sent are the views, (H, W, 3) uint8 each, as `CAMERAS` names them,
    ``observation/state`` if there is one, and ``prompt``.

    Args:
        url: ``ws://host:port`` or ``wss://host:port``.
        shape: of an action here, (A,).
        prompt: what the robot is to do, in words.

    Raises:
        SettingsError: no such URL, or the key would go to another machine in the open.
        RobotError: nobody answers there, or otherwise than by this protocol.
    """

    def __init__(self, url: str, shape: tuple[int, ...], prompt: str) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise SettingsError(f"policy {url!r}: must be ws://host:port or wss://host:port")
        self._url, self._shape, self._prompt = url, shape, prompt
        self._chunk: list[np.ndarray] = []
        key = os.environ.get(KEY)
        if key and url.startswith("ws://"):
            wire.checked_address(url)  # refuses to send a secret to another machine in the open
        headers = {"Authorization": f"Api-Key {key}"} if key else None
        with self._speaking():
            self._connection = wire.dial(url, additional_headers=headers)
        self.metadata = self._received()

    def reset(self, seed: int) -> None:
        """Start an episode: what is left of the last chunk is not carried out."""
        self._chunk = []

    def __call__(self, observation: Observation, info: Mapping[str, object]) -> np.ndarray:
        """(A,) action in [-1, 1], the next of the chunk; RobotError where the server gives none that is finite."""
        if not self._chunk:
            self._chunk = list(self._infer(observation))
        return np.clip(self._chunk.pop(0), -1.0, 1.0)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _infer(self, observation: Observation) -> np.ndarray:
        """(T, A) float32."""
        said: dict[str, Any] = {"prompt": self._prompt}
        for number, view in enumerate(observation.get("image", ())):
            said[CAMERAS[number] if number < len(CAMERAS) else f"observation/image_{number}"] = _packed(view)
        if "state" in observation:
            said["observation/state"] = _packed(observation["state"])
        with self._speaking():
            self._connection.send(wire.pack(said))
        actions = self._received().get("actions")
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
            raise RobotError(f"{self._url}: its answer has no actions")
        chunk = actions.astype(np.float32).reshape(-1, *actions.shape[-1:])
        if not len(chunk) or chunk.shape[1:] != self._shape or not np.isfinite(chunk).all():
            raise RobotError(f"{self._url}: actions {actions.shape}: must be finite, (T, {self._shape[0]}) with T > 0")
        return chunk

    def _received(self) -> dict[str, Any]:
        with self._speaking():
            data = self._connection.recv(timeout=ANSWER_S)
        if isinstance(data, str):
            raise RobotError(f"{self._url}: the policy server has failed: {data.strip().splitlines()[-1][:200]}")
        try:
            answer = library("msgpack").unpackb(data, object_hook=_unpacked, max_ext_len=0)
        except Exception as error:  # msgpack raises a dozen kinds
            raise RobotError(f"{self._url}: answers no msgpack map ({type(error).__name__}: {error})") from None
        if not isinstance(answer, dict):
            raise RobotError(f"{self._url}: answers {type(answer).__name__}, not a map")
        return answer

    def _speaking(self) -> AbstractContextManager[None]:
        return wire.speaking(self._url, "policy server", KEY, RobotError)


def _packed(array: np.ndarray) -> dict[bytes, Any]:
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": list(array.shape)}


def _unpacked(entry: dict[Any, Any]) -> Any:
    """An array or a number of NumPy; of plain numbers alone, so that nothing in it can be an object."""
    kind = entry.get(b"dtype")
    if b"__ndarray__" not in entry and b"__npgeneric__" not in entry:
        return entry
    dtype = np.dtype(kind.decode() if isinstance(kind, bytes) else str(kind))
    if dtype.kind not in "fiub" or dtype.fields is not None:
        raise ValueError(f"an array of {dtype}")
    if b"__npgeneric__" in entry:
        return dtype.type(entry[b"data"])
    return np.frombuffer(entry[b"data"], dtype).reshape([int(side) for side in entry[b"shape"]])
