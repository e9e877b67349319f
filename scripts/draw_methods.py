"""Draw the pictures of docs/methods: `python scripts/draw_methods.py docs/images`.

What can be computed exactly is: the toy maze's values, a policy that is weighted by advantages, a product of Gaussians.
The rewards along an insertion and the bench come from the simulator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lotj.controllers.proportional import Proportional
from lotj.envs.grid import Grid
from lotj.envs.registry import make_task

BLUE, RED, GREEN, GREY = "#2563a8", "#b3402a", "#3a7d44", "#777777"


def axes(count: int, height: float = 2.6, width: float = 2.7) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels side by side, sizes in inches."""
    figure = Figure(figsize=(count * width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def iql() -> Figure:
    """The expectile loss, and the values of the toy maze that expectiles find in data of a random walk."""
    figure, (loss, *maps) = axes(4)
    u = np.linspace(-1, 1, 201)
    for tau, colour in ((0.5, GREY), (0.7, GREEN), (0.9, BLUE)):
        loss.plot(u, np.where(u < 0, 1 - tau, tau) * u**2, color=colour, label=f"τ = {tau}")
    loss.set(title="loss of V", xlabel="u = Q(s, a) − V(s)", yticks=[])
    loss.legend(frameon=False)
    grid = Grid()
    values = {"τ = 0.5": grid.expectile(0.5), "τ = 0.95": grid.expectile(0.95), "best possible": grid.optimal()}
    for panel, (title, value) in zip(maps, values.items(), strict=True):
        picture = np.full(grid.walls.shape, np.nan)
        picture[tuple(grid.cells.T)] = np.where(np.arange(len(value)) == grid.goal, grid.pays, value)
        panel.imshow(picture, vmin=0, vmax=grid.pays, cmap="viridis").cmap.set_bad("#dddddd")
        for letter, cell in (("S", grid.start), ("G", grid.goal)):
            row, column = grid.cells[cell]
            panel.text(column, row, letter, ha="center", va="center", color="white" if letter == "S" else "black")
        panel.set(title=f"{title}: {value[grid.start]:.2f} at S", xticks=[], yticks=[])
    return figure


def awac() -> Figure:
    """What the weighted likelihood makes of a policy: the data's actions times exp(k A)."""
    figure, panels = axes(2, width=4.2)
    a = np.linspace(-1, 1, 401)
    data = 0.7 * np.exp(-((a + 0.3) ** 2) / 0.08) + 0.3 * np.exp(-((a - 0.45) ** 2) / 0.02)
    q = np.exp(-((a - 0.6) ** 2) / 0.3) - 0.5 * (a > 0.85)
    panels[0].fill_between(a, data / data.max(), color=GREY, alpha=0.3, label="actions in the data")
    panels[0].plot(a, q, color=RED, label="Q(s, a)")
    panels[0].set(title="given", xlabel="action", yticks=[])
    panels[0].legend(frameon=False)
    for k, colour in ((0, GREY), (3, GREEN), (10, BLUE)):
        weighted = data * np.exp(k * q)
        panels[1].plot(a, weighted / weighted.sum(), color=colour, label=f"k = {k}")
    panels[1].set(title="data × exp(k A): what the policy imitates", xlabel="action", yticks=[])
    panels[1].legend(frameon=False)
    return figure


def ddpg_demos() -> Figure:
    """Hindsight, and the filter by Q."""
    figure, (way, filtered) = axes(2, width=4.2)
    path = np.array([(0, 0), (0.2, 0.15), (0.4, 0.2), (0.6, 0.35), (0.7, 0.55)])
    way.plot(*path.T, "o-", color=BLUE)
    way.plot(0.15, 0.7, "*", color=RED, markersize=15)
    way.plot(*path[-1], "*", color=GREEN, markersize=15)
    way.text(0.19, 0.72, "goal of the episode: reward 0 throughout", color=RED, va="bottom", ha="left", fontsize=8)
    way.text(0.72, 0.5, "goal in\nhindsight:\nreached,\nreward 1", color=GREEN, va="top", ha="left", fontsize=8)
    way.set(title="hindsight", xlim=(-0.05, 0.9), ylim=(-0.05, 0.85), xticks=[], yticks=[])
    a = np.linspace(-1, 1, 201)
    q = lambda action: np.exp(-((action - 0.3) ** 2) / 0.3)  # noqa: E731
    filtered.plot(a, q(a), color=GREY, label="Q(s, ·)")
    for action, colour, name in (
        (0.0, BLUE, "policy"),
        (0.2, GREEN, "demonstration: cloned"),
        (-0.4, RED, "not cloned"),
    ):
        filtered.plot(action, q(action), "o", color=colour, label=name)
    filtered.set(title="filter by Q", xlabel="action", yticks=[])
    filtered.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def residual() -> Figure:
    """The bench of the blocks, and who adds what."""
    figure, (picture, sums) = axes(2, width=4.2)
    env = make_task("blocks/assembly", yaw=0.3)
    env.reset(seed=2)
    picture.imshow(np.asarray(env.unwrapped.render()))
    env.close()
    picture.set(title="blocks/assembly, yaw=0.3", xticks=[], yticks=[])
    controller, correction = np.array([0.0, -0.9]), np.array([0.3, 0.12])
    for start, step, colour, name in (
        (np.zeros(2), controller, GREY, "controller(s)"),
        (controller, correction, RED, "0.3 · π(s), learnt"),
        (np.zeros(2), controller + correction, BLUE, "carried out"),
    ):
        sums.annotate("", start + step, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
        sums.plot([], [], color=colour, label=name)
    sums.set(title="an action", xlim=(-0.5, 1.2), ylim=(-1.1, 0.2), xticks=[], yticks=[])
    sums.legend(frameon=False, loc="upper right", fontsize=8)
    return figure


def rewards_of(actions: list[np.ndarray], **options: object) -> list[float]:
    """What each step of an episode of force-insertion pays; an empty list of actions is filled by the controller."""
    env = make_task("force-insertion/usb-a", end_on_success=False, **options)
    controller, rewards, over = Proportional(env.action_scale), [], False
    seen, _ = env.reset(seed=0)
    while not over:
        number = len(rewards)
        if number == len(actions):
            actions.append(controller(seen, {}))
        seen, paid, ended, cut, _ = env.step(actions[number])
        rewards.append(float(paid))
        over = ended or cut
    env.close()
    return rewards


def natural_rewards() -> Figure:
    """Each reward of force-insertion, in every step of the same insertion by the scripted controller."""
    figure, panels = axes(3)
    actions: list[np.ndarray] = []
    for panel, (reward, colour) in zip(panels, (("sparse", GREEN), ("dense", BLUE), ("image", RED)), strict=True):
        rewards = rewards_of(actions, reward=reward)
        panel.plot(np.arange(1, len(rewards) + 1), rewards, "o-", color=colour, markersize=3)
        panel.set(title=f"reward={reward}", xlabel="step")
    return figure


def oda() -> Figure:
    """Gaussians of three demonstrated transitions over one dimension of z, and their product."""
    figure, (panel,) = axes(1, width=5.5)
    z = np.linspace(-3, 3, 601)
    factors = [(-0.6, 1.0), (0.9, 0.5), (0.4, 0.3)]
    variance = 1 / sum(1 / v for _, v in factors)
    mean = variance * sum(m / v for m, v in factors)
    for number, (m, v) in enumerate(factors):
        label = "one transition each" if number == 0 else None
        panel.plot(z, np.exp(-((z - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v), color=GREY, label=label)
    density = np.exp(-((z - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    panel.plot(z, density, color=BLUE, label=f"their product: {mean:.2f} ± {variance**0.5:.2f}")
    panel.set(xlabel="z", yticks=[], title="q(z | demonstrations)")
    panel.legend(frameon=False)
    return figure


def bottleneck() -> Figure:
    """What goes where in the bottleneck."""
    figure, (panel,) = axes(1, height=2.8, width=8.4)
    boxes = {
        "images\n(two cameras)": (0.0, 1.0),
        "encoder": (2.0, 1.0),
        "$z_I$: what all\nconnectors share": (4.0, 1.75),
        "$z_S$: few bits\nof the rest": (4.0, 0.25),
        "adversary: which\ndomain is it?": (6.4, 1.75),
        "head: success?\nor action": (6.4, 0.6),
    }
    size = (1.45, 0.75)
    for name, (x, y) in boxes.items():
        panel.add_patch(FancyBboxPatch((x, y), *size, "round,pad=0.05", facecolor="#eef3f8", edgecolor=BLUE))
        panel.text(x + size[0] / 2, y + size[1] / 2, name, ha="center", va="center", fontsize=9)
    arrows = (("imag", "enc"), ("enc", "$z_I"), ("enc", "$z_S"), ("$z_I", "adv"), ("$z_I", "head"), ("$z_S", "head"))
    for start, end in arrows:
        (x0, y0), (x1, y1) = (next(at for name, at in boxes.items() if name.startswith(part)) for part in (start, end))
        back = end == "adv"
        panel.annotate(
            "",
            (x1 - 0.07, y1 + size[1] / 2),
            (x0 + size[0] + 0.07, y0 + size[1] / 2),
            arrowprops={"arrowstyle": "-|>", "color": RED if back else GREY, "lw": 1.5},
        )
    panel.text(5.92, 2.25, "gradient\nreversed", color=RED, ha="center", fontsize=8)
    panel.text(4.72, -0.08, "KL to N(0, 1) is paid for", color=GREY, ha="center", fontsize=8)
    panel.set(xlim=(-0.2, 8.0), ylim=(-0.2, 2.8))
    panel.axis("off")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "iql": iql,
    "awac": awac,
    "ddpg-demos": ddpg_demos,
    "residual": residual,
    "natural-rewards": natural_rewards,
    "oda": oda,
    "bottleneck": bottleneck,
}


def main() -> None:
    """Write method-NAME.png for each page."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    matplotlib.rcParams |= {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}
    for name, draw in PICTURES.items():
        draw().savefig(folder / f"method-{name}.png", dpi=110)


if __name__ == "__main__":
    main()
