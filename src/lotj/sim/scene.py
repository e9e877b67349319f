"""The work bench as a MuJoCo model: socket in a clamp, plug in a compliant gripper, cameras, bench, clutter.

World frame: origin at the socket's mating face if the clamp stood at its nominal pose, z up. Hand and plug slide on
three position-controlled axes, or hang at a jointed arm; in the fingers the plug can tilt against a spring and slip
against friction.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from lotj.sim.arm import Arm
from lotj.sim.connector import Connector
from lotj.sim.jointed import jointed_xml
from lotj.sim.randomization import CameraMount, Randomization
from lotj.sim.solids import Piece, plug_pieces, socket_pieces

TIMESTEP = 0.002  # of the physics [s]

_PLUG_SIDE = {"contype": 1, "conaffinity": 2}
_SOCKET_SIDE = {"contype": 2, "conaffinity": 1}
_SEEN_ONLY = {"contype": 0, "conaffinity": 0}
_SOLREF = (0.004, 1.0)
_SOLIMP = (0.95, 0.99, 0.0002, 0.5, 2.0)
_GEOM = mujoco.mjtGeom
_BENCH_DROP = 0.025  # depth of the bench below the socket block [m]: clutter stays below the plug
_FELT = 3  # group of the geoms that are not drawn

_SIDES = [(axis, sign) for axis in range(3) for sign in (-1.0, 1.0)]
_SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)], float)  # two triangles
_BOX = np.concatenate([np.roll(np.c_[np.full(6, s), _SQUARE * [s, 1]], a, axis=1) for a, s in _SIDES])
"""(36, 3) corners of the triangles of a box of half size 1, and their normals."""
_BOX_NORMALS = np.concatenate([np.tile(sign * np.eye(3)[axis], (6, 1)) for axis, sign in _SIDES])


def build_scene(connector: Connector, arm: Arm, drawn: Randomization) -> mujoco.MjModel:
    """Compile the bench for one domain. Every geom, joint, camera, light and actuator is named."""
    bench = resources.files("lotj.sim").joinpath("bench.xml").read_text(encoding="utf-8")
    spec = mujoco.MjSpec.from_string(jointed_xml(bench, arm) if arm.links else bench)
    spec.option.timestep = TIMESTEP
    _colour(spec, drawn)
    _add_clutter(spec, connector, drawn)
    _add_socket(spec, connector, drawn)
    _add_fingers(spec.body("hand"), connector, arm)
    _add_plug(spec, connector, arm, drawn)
    for axis in "xyz":
        drive, mass = spec.actuator(f"drive-{axis}"), arm.felt_mass or spec.body("hand").mass
        drive.set_to_position(kp=arm.stiffness, kv=2.0 * np.sqrt(arm.stiffness * mass))
        drive.forcerange = [-arm.force_limit, arm.force_limit]
    mounts = drawn.cameras[: len(arm.cameras)]  # drawn are as many as any arm has
    for name, position, mount in zip(arm.cameras, arm.camera_positions, mounts, strict=True):
        _aim(spec.camera(name), arm, np.asarray(position), mount)
        if name == "fixed":
            spec.camera(name).pos += drawn.clamp_shift
    _merge_what_is_seen(spec)
    return spec.compile()


def _colour(spec: mujoco.MjSpec, drawn: Randomization) -> None:
    """Texture, materials and light."""
    height, width, _ = drawn.bench_texture.shape
    flat = mujoco.mjtTexture.mjTEXTURE_2D
    texture = spec.add_texture(name="bench", type=flat, width=width, height=height, nchannel=3)
    texture.data = drawn.bench_texture.tobytes()
    spec.material("bench").textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "bench"
    for name, colour, gloss in (
        ("plug", drawn.plug_colour, drawn.gloss),
        ("socket", drawn.socket_colour, drawn.gloss),
        ("metal", drawn.metal_colour, 0.9),
        ("dark", (0.02, 0.02, 0.02), 0.0),
        ("clamp", drawn.clamp_colour, 0.5 * drawn.gloss),
        ("hand", drawn.hand_colour, 0.3),
    ):
        material = spec.material(name)
        material.rgba, material.specular, material.shininess = [*colour, 1.0], gloss, gloss
    lamp, tint = spec.light("lamp"), np.asarray(drawn.light_tint)
    lamp.pos, lamp.dir = [-0.5 * d for d in drawn.light_direction], drawn.light_direction
    lamp.diffuse, lamp.specular = 0.8 * (drawn.light_level * tint), 0.4 * (drawn.light_level * tint)
    lamp.ambient = drawn.ambient * tint


def _add_clutter(spec: mujoco.MjSpec, connector: Connector, drawn: Randomization) -> None:
    x, y, z = drawn.clamp_shift
    z -= connector.housing_height + _BENCH_DROP
    spec.geom("bench").pos = [x, y, z]
    for i, thing in enumerate(drawn.clutter):
        spec.worldbody.add_geom(
            name=f"clutter-{i}",
            type=getattr(_GEOM, f"mjGEOM_{thing.shape.upper()}"),
            size=thing.size,
            pos=[thing.place[0] + x, thing.place[1] + y, z + thing.size[1 if thing.shape == "cylinder" else 2]],
            quat=quaternion([0, 0, thing.yaw]),
            rgba=[*thing.colour, 1.0],
            **_SEEN_ONLY,
        )


def _add_pieces(
    spec: mujoco.MjSpec, name: str, pieces: list[Piece], side: dict[str, int], friction: float, material: str = ""
) -> None:
    """The pieces of the body called `name`, whose own material is called so, too, unless another is named."""
    body = spec.body(name)
    for piece in pieces:
        options: dict[str, Any] = {
            "name": f"{name}-{piece.name}",
            "material": "dark" if piece.dark else "metal" if piece.metal else material or name,
            "friction": [friction, 0.005, 0.0001],
            "solref": _SOLREF,
            "solimp": _SOLIMP,
            "mass": 0.0,
            **(side if piece.collides else _SEEN_ONLY),
        }
        box = piece.box()
        if box is not None:
            body.add_geom(type=_GEOM.mjGEOM_BOX, pos=box[0], size=box[1], **options)
        else:
            convex = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            mesh = spec.add_mesh(name=options["name"], inertia=convex)
            mesh.uservert = piece.vertices().ravel()
            body.add_geom(type=_GEOM.mjGEOM_MESH, meshname=mesh.name, **options)


def _merge_what_is_seen(spec: mujoco.MjSpec) -> None:
    """Draw the pieces of one body and material as one mesh, which takes far fewer calls; the pieces are only felt.

    Corners and normals are those that MuJoCo has made of the pieces, so the picture stays as it was.
    """
    model, parts = spec.compile(), {}
    for geom in spec.geoms:
        if geom.name.startswith(("plug-", "socket-", "second-")):
            parts.setdefault((geom.parent.name, geom.material), []).append(geom)
    for (body, material), pieces in parts.items():
        corners = [_corners(model, model.geom(piece.name)) for piece in pieces]
        points, normals = (np.concatenate(column) for column in zip(*corners, strict=True))
        name = f"{body}-seen-{material}"
        mesh = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
        mesh.uservert, mesh.usernormal = points.ravel(), normals.ravel()
        mesh.userface = np.arange(len(points))
        drawn = {"type": _GEOM.mjGEOM_MESH, "meshname": name, "material": material, "mass": 0.0, **_SEEN_ONLY}
        spec.body(body).add_geom(name=name, **drawn)
        for piece in pieces:
            piece.group = _FELT


def _corners(model: mujoco.MjModel, geom: Any) -> tuple[np.ndarray, np.ndarray]:
    """(3 N, 3) corners [m] and normals of the N triangles of a box or mesh, in the frame of its body."""
    if geom.type[0] == _GEOM.mjGEOM_BOX:
        points, normals = _BOX * geom.size, _BOX_NORMALS
    else:
        mesh = geom.dataid[0]
        faces = model.mesh_faceadr[mesh] + np.arange(model.mesh_facenum[mesh])
        points = model.mesh_vert[model.mesh_vertadr[mesh] + model.mesh_face[faces].ravel()]
        normals = model.mesh_normal[model.mesh_normaladr[mesh] + model.mesh_facenormal[faces].ravel()]
    turn = _matrix(geom.quat).T
    return points @ turn + geom.pos, normals @ turn


def _add_socket(spec: mujoco.MjSpec, connector: Connector, drawn: Randomization) -> None:
    socket = spec.body("socket")
    turn = np.asarray(drawn.clamp_tilt) + [0, 0, drawn.clamp_yaw]
    socket.pos, socket.quat = drawn.clamp_shift, quaternion(turn)
    pieces, friction = socket_pieces(connector), connector.friction * drawn.friction_scale
    _add_pieces(spec, "socket", pieces, _SOCKET_SIDE, friction)
    if drawn.second_socket is not None:  # another one like it, which can be plugged into as well
        place = np.asarray(drawn.clamp_shift) + [*drawn.second_socket, 0.0]
        spec.worldbody.add_body(name="second", pos=place, quat=socket.quat).add_site(name="second")
        _add_pieces(spec, "second", pieces, _SOCKET_SIDE, friction, "socket")
    width, height = connector.housing_size[1] * 0.5 + 0.004, connector.housing_height
    top = -min(0.35 * height, 0.006)
    for name, sign in (("left", -1.0), ("right", 1.0)):
        half = [drawn.clamp_width / 2, width, (height + _BENCH_DROP + top) / 2]
        place = [sign * (connector.housing_size[0] / 2 + half[0]), 0, top - half[2]]
        _add_box(socket, f"clamp-{name}", "clamp", half, place, _SOCKET_SIDE)


def _add_box(
    body: mujoco.MjsBody, name: str, material: str, half: Sequence[float], place: Sequence[float], side: dict[str, int]
) -> mujoco.MjsGeom:
    kind = _GEOM.mjGEOM_BOX
    return body.add_geom(name=name, type=kind, pos=place, size=half, material=material, mass=0.0, **side)


def _add_plug(spec: mujoco.MjSpec, connector: Connector, arm: Arm, drawn: Randomization) -> None:
    """The plug in the fingers, which slips and tilts about the grip point."""
    plug, pivot = spec.body("plug"), [0.0, 0.0, connector.body_gap + 0.6 * connector.body_height]
    plug.pos, plug.quat, plug.ipos = drawn.grasp_shift, quaternion(drawn.grasp_tilt), pivot
    spec.joint("slip").frictionloss = arm.grip_force * drawn.grip_scale
    for axis in "xyz":
        joint = spec.joint(f"tilt-{axis}")
        joint.pos, joint.stiffness = pivot, [arm.tilt_stiffness, 0, 0]
    _add_pieces(spec, "plug", plug_pieces(connector), _PLUG_SIDE, connector.friction * drawn.friction_scale)


def _add_fingers(hand: mujoco.MjsBody, connector: Connector, arm: Arm) -> None:
    width, thickness, height = arm.finger_size
    low = connector.body_gap + 0.35 * connector.body_height
    half = [width / 2, thickness / 2, height / 2]
    gap = (connector.body_size[1] if arm.fingers == 2 else max(connector.body_size)) / 2 + thickness / 2
    for i in range(arm.fingers):
        angle = np.pi / 2 + 2 * np.pi * i / arm.fingers
        place = [gap * np.cos(angle), gap * np.sin(angle), low + height / 2]
        finger = _add_box(hand, f"finger-{i}", "hand", half, place, _PLUG_SIDE)
        finger.quat = quaternion([0, 0, angle - np.pi / 2])
    x, y, z = arm.palm_size
    place = [0, 0, max(low + height, connector.body_gap + connector.body_height) + z / 2]
    _add_box(hand, "palm", "hand", [x / 2, y / 2, z / 2], place, _PLUG_SIDE)
    if arm.links:
        hand.pos = [0.0, 0.0, place[2] + z / 2]  # from the flange, which the palm is screwed to


def _aim(camera: mujoco.MjsCamera, arm: Arm, position: np.ndarray, mount: CameraMount) -> None:
    forward = np.asarray(arm.camera_target) - position
    back = -forward / np.linalg.norm(forward)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(back, right), back], axis=1)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, (frame @ _matrix(quaternion(mount.turn))).ravel())
    # MuJoCo wants the vertical angle; a view is twice as wide as it is high.
    half = np.tan(np.radians(arm.field_of_view * mount.zoom) / 2) / 2
    camera.pos, camera.quat, camera.fovy = position + np.asarray(mount.shift), quat, 2 * np.degrees(np.arctan(half))


def quaternion(rotation_vector: Sequence[float] | np.ndarray) -> np.ndarray:
    """Unit quaternion (w, x, y, z) of a rotation vector (3,) [rad]."""
    quat, angle = np.zeros(4), float(np.linalg.norm(rotation_vector))
    mujoco.mju_axisAngle2Quat(quat, np.asarray(rotation_vector) / max(angle, 1e-12), angle)
    return quat


def _matrix(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)
