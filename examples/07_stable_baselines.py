"""Stable-Baselines3 on the insertion environment.

    pip install stable-baselines3
    python examples/07_stable_baselines.py --steps 20000

The environment follows Gymnasium's interface, so any library learns on it. Here SAC sees the robot's own state
(position, velocity and force of the hand) and practises on one USB socket, whose position is estimated wrongly, but the
same each time (`estimate_seed`); with `--image` it sees the two wrist cameras instead, which takes far longer.

20,000 steps take about ten minutes. Prints how many of 20 trials are inserted before and after training. Do not expect
much of few steps (0 of 20 after 6,000 in one run): a trial pays a single 1 when the plug is seated, which a policy
without examples seldom meets. That is what prior data and practice are for.
"""

import argparse
import sys

import gymnasium
import numpy as np

import lotj.envs  # noqa: F401  registers lotj/Insertion-v0

try:
    from stable_baselines3 import SAC  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.env_checker import check_env  # pyright: ignore[reportMissingImports]
except ImportError:
    sys.exit("this example needs Stable-Baselines3: pip install stable-baselines3")


class CamerasSideBySide(gymnasium.ObservationWrapper):
    """Images of two cameras, (2, H, W, 3), as one picture (2 H, W, 3), which is what its networks take."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        _, height, width, _ = env.get_wrapper_attr("observation_space")["image"].shape
        box = gymnasium.spaces.Box(0, 255, (2 * height, width, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": box})

    def observation(self, observation: dict) -> dict:
        return {"image": np.concatenate(observation["image"])}


def inserted(model: SAC, env: gymnasium.Env, trials: int) -> int:
    """True successes from the same start poses each time."""
    successes = 0
    for seed in range(10_000, 10_000 + trials):
        observation, info = env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            action, _ = model.predict(observation, deterministic=True)
            observation, _, terminated, truncated, info = env.step(action)
        successes += info["is_success"]
    return successes


def main() -> None:
    """Train SAC and count."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="steps of the environment")
    parser.add_argument("--trials", type=int, default=20, help="trials of each evaluation")
    parser.add_argument("--image", action="store_true", help="learn from the cameras")
    asked = parser.parse_args()
    options = {"connector": "usb-b", "scenario": "near", "estimate_seed": 0}
    env = gymnasium.make("lotj/Insertion-v0", **options, observation="image" if asked.image else "state")
    env = CamerasSideBySide(env) if asked.image else env
    check_env(env)
    model = SAC("MultiInputPolicy", env, seed=0, buffer_size=20_000, learning_starts=min(1000, asked.steps // 2))
    before = inserted(model, env, asked.trials)
    model.learn(asked.steps, progress_bar=False)
    print(f"before {before}, after {inserted(model, env, asked.trials)} of {asked.trials} inserted")


if __name__ == "__main__":
    main()
