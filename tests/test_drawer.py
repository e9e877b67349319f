"""The drawer: only a hook in its handle opens it."""

from __future__ import annotations

import numpy as np

from lotj.controllers.drawer import Pull
from lotj.envs.drawer import START, DrawerEnv


def go(env: DrawerEnv, target: tuple[float, float, float], steps: int) -> float:
    """Towards a point [m] for so many steps; the widest opening on the way [m]."""
    widest = 0.0
    for _ in range(steps):
        env.step(np.clip((np.array(target) - env.hand) / 0.01, -1.0, 1.0))
        widest = max(widest, env.opening)
    return widest


def test_the_slot_is_4_mm_wider_than_the_hook() -> None:
    model = DrawerEnv().model
    bar, post, hook = (model.geom(name) for name in ("bar", "post-left", "hook"))
    assert np.isclose(-(bar.pos[0] + bar.size[0]) - 2 * hook.size[0], 4e-3)
    assert np.isclose(2 * (post.pos[1] - post.size[1]) - 2 * hook.size[1], 4e-3)


def test_the_hook_opens_it_and_it_stays_open_until_the_next_reset() -> None:
    env = DrawerEnv(end_on_success=False)
    env.reset(seed=0)
    go(env, (-0.007, 0.0, 0.03), 15)
    assert go(env, (-0.007, 0.0, -0.006), 8) < 1e-4
    assert go(env, (-0.127, 0.0, -0.006), 16) > 0.1
    left = env.opening
    go(env, (*env.hand[:2], 0.05), 10)  # out of the slot
    go(env, (-0.2, 0.05, 0.05), 10)
    assert abs(env.opening - left) < 1e-3 and env.judge({})[0]
    assert env.reset(seed=1)[0]["state"][3] == 0.0


def test_pulling_without_being_in_the_handle_opens_nothing() -> None:
    """Pressed with all its force on the handle's top, its front, its sides, or on the drawer's front, and dragged back
    from there."""
    env, opened = DrawerEnv(max_steps=10_000), {}
    for y in (0.0, 0.012, 0.02, 0.032, 0.05):
        for x in (-0.03, -0.018, -0.012, -0.007, -0.003):
            env.reset(seed=0)
            go(env, (x, y, 0.03), 15)
            down = go(env, (x, y, -0.02), 6)  # beside the handle to the end, on its top with the leash's 14 mm x 2 N/mm
            opened[x, y] = max(down, go(env, (x - 0.12, y, -0.02), 12))
    # The slot's middle is (-7, 0) mm, with 2 mm to spare; against the drawer's front the hook stands at -5 mm.
    entered = {place for place in opened if place[1] == 0.0 and place[0] >= -0.009}
    assert all((opened[place] > 0.05) == (place in entered) for place in opened) and len(entered) == 2
    assert max(opened[place] for place in opened.keys() - entered) < 1e-3


def test_pushing_anywhere_opens_nothing() -> None:
    env, widest = DrawerEnv(max_steps=10_000), 0.0
    for y in np.linspace(-0.1, 0.1, 6):
        for z in (-0.03, 0.0, 0.03):
            env.reset(seed=0)
            go(env, (-0.05, y, z), 15)
            widest = max(widest, go(env, (0.02, y, z), 8), go(env, (0.02, -y, z), 8))
    assert widest < 1e-3


def test_the_expert_opens_it_from_everywhere_and_random_actions_do_not() -> None:
    env, expert, rng = DrawerEnv(), Pull(), np.random.default_rng(0)
    for chosen, lowest, highest in ((True, 0.95, 1.0), (False, 0.0, 0.01)):
        ended, starts = [], []
        for seed in range(20):
            observation, info = env.reset(seed=seed)
            starts.append(observation["state"][:3])
            over = False
            while not over:
                action = expert(observation, info) if chosen else rng.uniform(-1, 1, 3)
                observation, _, terminated, truncated, info = env.step(action)
                over = terminated or truncated
            ended.append(info["is_success"])
        assert lowest <= np.mean(ended) <= highest
        assert (np.ptp(starts, axis=0) > 0.8 * np.ptp(START, axis=0)).all()
