"""What a robot server and its client say to each other: msgpack in WebSocket messages, pictures compressed.

Nothing that arrives is executed or unpickled: msgpack holds numbers, texts, bytes, lists and maps, arrays are read by
the shape and type that the reader expects, and whatever is not exactly of the form below is refused.

A learner asks ``{"session", "n", "by", "do", ...}``: the session's name, a number that grows with each message, the
server's time until which it counts [s], and what to do, with the arguments of `FORMS`. Answers are ``{"n", "clock"}``
with ``seen`` (and ``outcome``, see `lotj.robots.robot.Witness`), or with ``error``, of `ERRORS`, and ``why``.
"""

from __future__ import annotations

import math
import ssl
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lotj.errors import FaultError, LostError, RobotError, SettingsError
from lotj.experience import Observation
from lotj.extras import library
from lotj.spaces import Spec, is_picture

VERSION = 3
LARGEST_REQUEST = 128 * 1024
"""Bytes; the largest is the part's TOML."""
LARGEST_ANSWER = 64 * 1024 * 1024
LATE_S = 0.5
"""A message counts for so long after it has been sent, by the server's clock."""
DEEPEST = 64
"""Axes of an action at most."""

FORMS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "prepare": {"setup": dict},
    "reset": {"seed": int, "start": (list, type(None))},
    "move": {"action": list},
    "relax": {},
    "park": {},
}
"""What can be asked -> the arguments and their types."""

ERRORS = {"lost": LostError, "fault": FaultError, "refused": RobotError}

TOKEN = "LOTJ_ROBOT_TOKEN"
"""Environment variable of the secret that server and learner share."""


@contextmanager
def speaking(url: str, server: str, secret: str, kind: type[RobotError] = FaultError) -> Iterator[None]:
    """While one dials, sends or receives: turns what fails into a `kind` of one line, but a wrong secret, named by its
    environment variable, into a RobotError. `server` is what should answer at `url`."""
    failed = library("websockets.exceptions")
    try:
        yield
    except failed.InvalidStatus as error:
        if error.response.status_code == 401:
            raise RobotError(f"{url}: the token is wrong: set {secret}, as the server has said") from None
        raise kind(f"{url}: answers {error.response.status_code}, is no {server}; is it another port?") from None
    except failed.ConnectionClosed as error:
        reason = error.rcvd.reason if error.rcvd else ""
        raise kind(f"{url}: the connection is gone ({reason or error})") from None
    except (OSError, ValueError, failed.WebSocketException) as error:
        raise kind(
            f"{url}: no {server} answers ({error or type(error).__name__}); start it, or mend the address"
        ) from None


def dial(url: str, **how: Any) -> Any:
    """A connection to a WebSocket server, past any proxy, see `websockets.sync.client.connect`."""
    connect = library("websockets.sync.client").connect
    # As a context's: what `connect` itself gives is about to change (websockets 17).
    return connect(url, compression=None, proxy=None, max_size=LARGEST_ANSWER, **how).__enter__()


def pack(message: Mapping[str, Any]) -> bytes:
    """Numbers, texts, bytes, lists and maps as bytes."""
    return library("msgpack").packb(message, use_bin_type=True)


def unpack(data: Any) -> dict[str, Any]:
    """The map that a message is; RobotError for anything else."""
    if not isinstance(data, bytes):
        raise RobotError("a message must be binary")
    try:
        message = library("msgpack").unpackb(data, raw=False, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises a dozen kinds for bytes that are none of its own
        raise RobotError(f"a message must be a msgpack map ({type(error).__name__})") from None
    if not isinstance(message, dict) or not all(isinstance(name, str) for name in message):
        raise RobotError(f"a message must be a map with names, not {type(message).__name__}")
    return message


def checked_request(message: Mapping[str, Any]) -> dict[str, Any]:
    """A learner's message, of exactly the form that its ``do`` has, see the head of this module; RobotError if not."""
    do = message.get("do")
    if not isinstance(do, str) or do not in FORMS:
        raise RobotError(f"do = {do!r:.40}: must be one of {', '.join(FORMS)}")
    form: dict[str, Any] = {"session": str, "n": int, "by": float, "do": str, **FORMS[do]}
    if message.keys() != form.keys():
        raise RobotError(f"{do}: must have the entries {', '.join(form)}, not {', '.join(sorted(message))[:200]}")
    for name, kind in form.items():
        if not isinstance(message[name], kind) or isinstance(message[name], bool):
            raise RobotError(f"{do}: {name} is of type {type(message[name]).__name__}")
    for name in ("action", "start"):
        numbers = message.get(name) or []
        if len(numbers) > DEEPEST or not all(type(number) in (int, float) for number in numbers):
            raise RobotError(f"{do}: {name} must be at most {DEEPEST} numbers")
    return dict(message)


def pack_observation(seen: Observation) -> dict[str, bytes]:
    """Name -> bytes. Pictures (..., H, W, 3) uint8 are compressed without loss, as differences of neighbours; other
    arrays are as is."""
    packed = {}
    for name, array in seen.items():
        if not is_picture(array.dtype.name, array.shape):
            packed[name] = array.tobytes()
            continue
        steps = array.copy()
        steps[..., 1:, :] -= array[..., :-1, :]
        # A third of a PNG's time at its fastest, and smaller: 320 x 240 in 2 ms.
        squeeze = zlib.compressobj(1, strategy=zlib.Z_RLE)
        packed[name] = squeeze.compress(steps.tobytes()) + squeeze.flush()
    return packed


def unpack_observation(packed: Any, spec: Spec) -> Observation:
    """What `pack_observation` has packed; FaultError if it is not what `spec` says."""
    if not isinstance(packed, dict) or packed.keys() != spec.observation.keys():
        raise FaultError(f"the robot must show {', '.join(spec.observation)}; it does not")
    seen = {}
    for name, of in spec.observation.items():
        try:
            if is_picture(of.dtype, of.shape):  # never more than the array of that shape, whatever is in the bytes
                steps = zlib.decompressobj().decompress(packed[name], math.prod(of.shape) + 1)
                seen[name] = np.frombuffer(steps, np.uint8).reshape(of.shape).cumsum(-2, dtype=np.uint8)
            else:
                seen[name] = np.frombuffer(packed[name], of.dtype).reshape(of.shape).copy()
        except (TypeError, ValueError, zlib.error) as error:
            raise FaultError(f"{name} from the robot: is no {of.shape} {of.dtype} ({error})") from None
    return seen


def check_token(token: str) -> str:
    """The token, if it is one that is hard to guess; else SettingsError."""
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        raise SettingsError(
            f"{TOKEN}, the robot's token: must be at least 16 ASCII letters, as `lotj robot serve` has shown"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine hears what is said there."""
    return host in ("localhost", "::1") or host.startswith("127.")


def checked_address(address: str) -> tuple[str, ssl.SSLContext | None]:
    """The URL of a server that is given as ``host:port``, ``ws://host:port`` or ``wss://host:port``, and how it is
    encrypted; SettingsError if it is none, or would send the token to another machine in the open."""
    url = address if "://" in address else f"ws://{address}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = parts = None
    if parts is None or parts.scheme not in ("ws", "wss") or not host or not port:
        raise SettingsError(f"{address!r}: must be host:port, ws://host:port or wss://host:port")
    if parts.scheme == "ws" and not is_loopback(host):
        raise SettingsError(
            f"{address}: is another machine, which is spoken to encrypted alone; use wss://{host}:{port}"
        )
    return url, ssl.create_default_context() if parts.scheme == "wss" else None


def encryption(host: str, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """That of a server; None for this machine alone. SettingsError for another host without, or files that are none."""
    if certificate is None or key is None:
        if (certificate or key) or not is_loopback(host):
            raise SettingsError(f"host {host}: other machines are served encrypted alone; give --cert and --key, both")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{certificate}, {key}: no certificate with its key, in PEM ({error})") from None
    return context
