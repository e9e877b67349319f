"""What all agents share: acting, optimisers, slow copies, clipping, the check for finite numbers, seeds, and state."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from lotj.agents.base import Algorithm, At
from lotj.errors import CheckpointError, NumericsError, SettingsError, unknown
from lotj.experience import Batch
from lotj.nets.adam import Moments, adam_step
from lotj.nets.encoder import Encoder
from lotj.nets.front import FEATURE, FRONTS, Features, Front, Seen
from lotj.nets.heads import Follower
from lotj.nets.precision import check_finite
from lotj.nets.recording import Recording
from lotj.runs.metrics import plain
from lotj.runs.settings import restore_settings
from lotj.spaces import Array, Spec

STATE_FORMAT = 2

CHUNK = 256
"""Rows that pass through the networks at once when nothing is learnt from them."""

Gradients = Mapping[str, tuple[Tensor | None, ...]]
Answer = Callable[[Seen, slice], Tensor]


class Learner:
    """An algorithm that acts and learns.

    All losses of one update are evaluated at the same weights; then each trained module takes one step of Adam along
    the gradient of its own loss, and the slow copies follow.

    Args:
        kind, spec, front, config, tasks: see `Algorithm`.
        seed: of the weights and, with the number of an update, of all random numbers drawn in it.
        device: where it computes.

    Attributes:
        algorithm: the networks.
        encoders: role -> encoder.
        target: slow copies by name.
        updates: number of updates so far.
        reads, needs: names of the observations that it reads, and of the columns, if a batch has them.
        discount: of returns, per step; 1 of an algorithm without values.
        ahead: steps to the column ``waypoint``, of an algorithm that needs it.
        terms: names of the terms of its losses, which `At.weights` may weigh.
        recorded: replays updates without practised rows on a GPU, with the same results; None does them one by one.
    """

    def __init__(
        self,
        kind: type[Algorithm],
        spec: Spec,
        front: Front,
        config: Any,
        tasks: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.spec, self.front, self.config, self.tasks, self.seed = spec, front, config, tasks, seed
        self.device, self.updates = torch.device(device), 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.algorithm = kind(spec, front, config, tasks).to(self.device).eval()
        followed = {name: self.algorithm.get_submodule(name) for name in kind.followed}
        self.target = {name: copy.deepcopy(module).requires_grad_(False) for name, module in followed.items()}
        self._trained = {name: dict(self.algorithm.get_submodule(name).named_parameters()) for name in kind.trained}
        self._parameters = {f"{m}.{name}": p for m, own in self._trained.items() for name, p in own.items()}
        self._moments: Moments = {}
        # Gathered once: to walk through the modules takes a tenth of an update on features, or of a look at an image.
        self.encoders = {m.role: m for m in self.algorithm.modules() if isinstance(m, Encoder)}
        self._modal = [m for m in self.algorithm.modules() if isinstance(m, _DropoutNd) or [*m.buffers(recurse=False)]]
        self._statistics = list(self.algorithm.buffers())
        self._followers = [Follower(slow, followed[name]) for name, slow in self.target.items()]
        self._generator = torch.Generator(self.device)
        self.reads = frozenset(front.reads(spec.observation))
        self.needs = self.algorithm.needs | self.algorithm.requires
        self.discount, self.ahead = float(getattr(config, "discount", 1.0)), int(getattr(config, "waypoint_steps", 0))
        self.terms = frozenset(term for names in kind.trained.values() for term in names)
        recordable = self.device.type == "cuda" and kind.recordable
        self.recorded = Recording(self._differentiate, self._generator) if recordable else None

    # Acting

    def act(
        self, observation: Mapping[str, Any], spread: float = 0.0, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Actions, (B, A) float32 in [-1, 1].

        Args:
            observation: name -> (B, ...), what the front reads.
            spread: share of the policy's standard deviation with which actions are drawn around its mean: 0 takes the
                mean, 1 draws from the policy.
            rng: random numbers of the draw; needed with a spread.
        """
        shape, noise = (self.algorithm.axes,), None
        if spread:
            if rng is None:
                raise ValueError("act: a spread needs random numbers, rng")
            noise = torch.from_numpy(rng.standard_normal((_rows(observation), *shape), np.float32))

        def ask(seen: Seen, part: slice) -> Tensor:
            mean, std = self.algorithm.decide(seen)
            return self.algorithm.squash(mean if noise is None else mean + spread * std * noise[part].to(self.device))

        return self.ask(observation, shape, ask)

    def value(self, observation: Mapping[str, Any]) -> np.ndarray:
        """V(s), (B,) float32; NaN of an algorithm that has none."""
        return self.ask(observation, (), lambda seen, part: self.algorithm.value(seen))

    def encode(
        self, observation: Mapping[str, Any], augment: bool = False, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """Features of (B, ...) observations, to be stored and learnt from with `on_features`: ``feature/`` and role ->
        (B, D) float16. With `augment` what is seen is changed first, as in training, by random numbers of `rng`."""
        if augment:
            if rng is None:
                raise ValueError("encode: augmenting needs random numbers, rng")
            self._generator.manual_seed(int(rng.integers(2**63)))

        def ask(seen: Seen, part: slice) -> Tensor:
            seen = self.front.change(seen, None, self._generator) if augment else seen
            return torch.cat([encoder(seen) for encoder in self.encoders.values()], 1)

        sizes = [encoder.size for encoder in self.encoders.values()]
        parts = np.split(self.ask(observation, (sum(sizes),), ask, np.float16), np.cumsum(sizes)[:-1], 1)
        return {FEATURE + role: np.ascontiguousarray(part) for role, part in zip(self.encoders, parts, strict=True)}

    @torch.no_grad()
    def ask(
        self, observation: Mapping[str, Any], shape: tuple[int, ...], ask: Answer, dtype: type = np.float32
    ) -> np.ndarray:
        """(B, *shape) answers to (B, ...) observations, a few rows at a time; `ask` gets these, and where they are."""
        answers = np.empty((_rows(observation), *shape), dtype)
        for first in range(0, len(answers), CHUNK):
            part = slice(first, first + CHUNK)
            seen = self.front.bring({name: values[part] for name, values in observation.items()}, self.device)
            answers[part] = ask(seen, part).cpu().numpy()
        return answers

    # Learning

    def update(self, batch: Batch, at: At) -> dict[str, float]:
        """One step along the gradients of all losses of B transitions in NumPy, augmented where their task is >= 0.

        Returns:
            Each term of the losses as ``loss_`` and its name, the algorithm's own numbers, and the gradient norm of
            each trained module before clipping.

        Raises:
            NumericsError: the batch, a loss or a gradient is not finite; nothing was changed.
            SettingsError: columns or weights that this algorithm does not know, actions of another shape.
        """
        if odd := at.weights.keys() - self.terms:
            raise unknown("weight", min(odd), sorted(self.terms))
        brought = self._bring(batch) | {"progress": torch.full((), at.progress, device=self.device)}
        seed = np.random.SeedSequence((self.seed, at.update)).generate_state(1, np.uint64)[0]
        self._generator.manual_seed(int(seed >> np.uint64(1)))
        statistics = [buffer.clone() for buffer in self._statistics]
        for module in self._modal:
            module.train()
        try:
            # Where some rows are practised their number, and with it the work, changes from batch to batch.
            recorded = None if "prior" in brought else self.recorded
            weights, number = tuple(sorted(at.weights.items())), 0 if recorded else at.update
            names, stacked, gradients = (recorded or self._differentiate)(brought, weights, number)
            numbers = dict(zip(names, stacked.tolist(), strict=True))
            for name, value in numbers.items():
                if not math.isfinite(value):
                    raise NumericsError(f"{name} of update {at.update} is {value}; lower the learning rate")
        except NumericsError:
            for buffer, before in zip(self._statistics, statistics, strict=True):
                buffer.copy_(before)
            raise
        finally:
            for module in self._modal:
                module.eval()
        self._step(gradients, self.config.lr if at.lr is None else at.lr)
        return numbers

    def _bring(self, batch: Batch) -> dict[str, Tensor]:
        """A batch as tensors on the device by flat names, looked at before, so that a GPU need not be waited for."""
        if odd := batch.columns.keys() - self.needs:
            raise unknown("column", min(odd), sorted(self.needs), "" if self.needs else "this agent reads none")
        if lacking := self.algorithm.requires - batch.columns.keys():
            known = ", ".join(sorted(batch.columns)) or "none"
            raise SettingsError(f"columns of a batch, {known}: this agent needs {min(lacking)!r}; ask a Replay for it")
        if (shape := tuple(batch.action.shape[1:])) != self.spec.action:
            raise SettingsError(f"actions of shape {shape}: this agent's are {self.spec.action}")
        task = torch.as_tensor(batch.task)
        brought = {name: self._number(name, getattr(batch, name)) for name in ("action", "reward")}
        brought["terminated"] = torch.as_tensor(batch.terminated).to(self.device, torch.bool)
        brought["task"] = task.to(self.device, torch.int64)
        if bool((task < 0).any()):
            brought["prior"] = (task >= 0).to(self.device)
        for place, observation in (("observation", batch.observation), ("next observation", batch.next_observation)):
            for name, values in (self.front.bring(observation, self.device) if observation else {}).items():
                raw = torch.as_tensor(observation[name])
                if raw.is_floating_point():
                    check_finite(f"{place} {name!r}", raw)
                brought[f"{place}/{name}"] = values
        for name, values in batch.columns.items():
            column = torch.as_tensor(values)
            brought[f"column/{name}"] = (
                column.nonzero()[:, 0].to(self.device) if column.dtype == torch.bool else self._number(name, column)
            )
        return brought

    def _number(self, name: str, values: Any) -> Tensor:
        return check_finite(name, torch.as_tensor(values).float()).to(self.device)

    def _differentiate(
        self, brought: Mapping[str, Tensor], weights: tuple[tuple[str, float], ...], number: int
    ) -> tuple[tuple[str, ...], Tensor, Gradients]:
        """Names and values of all numbers, the latter as one tensor, for on a GPU each would have to be waited for; and
        the clipped gradients of each trained module that has a loss. Nothing in here may wait, see `Recording`."""
        now, then = (
            self.front.change(seen, brought.get("prior"), self._generator) if (seen := _part(brought, place)) else {}
            for place in ("observation/", "next observation/")
        )
        plain = {name: brought[name] for name in ("action", "reward", "terminated", "task")}
        batch = Batch(observation=now, next_observation=then, columns=_part(brought, "column/"), **plain)
        at = At(number, brought["progress"], weights=dict(weights))
        terms, numbers = self.algorithm.losses(batch, self.target, at, self._generator)
        gradients: dict[str, tuple[Tensor | None, ...]] = {}
        for name, own in self.algorithm.trained.items():
            loss = sum((terms[term] * at.weights.get(term, 1.0) for term in own if term in terms), torch.zeros(()))
            if not loss.requires_grad:
                continue
            # Of one module alone: a policy's loss passes through the critics and must not move them.
            parameters = list(self._trained[name].values())
            gradients[name] = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            numbers[f"gradient_norm_{name}"] = _clip(gradients[name], self.config.gradient_clip)
        named = {f"loss_{name}": term for name, term in terms.items()} | numbers
        stacked = torch.stack([number.detach() for number in named.values()]) if named else torch.zeros(0)
        return tuple(named), stacked, gradients

    def _step(self, gradients: Gradients, lr: float) -> None:
        # One step for all modules: Adam looks at each parameter alone.
        named = {
            f"{module}.{name}": gradient
            for module, found in gradients.items()
            for name, gradient in zip(self._trained[module], found, strict=True)
            if gradient is not None
        }
        adam_step(self._parameters, named, self._moments, lr, self.config.weight_decay)
        for follower in self._followers:
            follower.follow(self.algorithm.follow_rate(self.updates))
        self.updates += 1

    # Features in place of perception

    def on_features(self, **settings: Any) -> Learner:
        """The same agent behind what `encode` gives: networks without encoders, and their optimisers' moments. This is
        the paper's online phase, in which the convolutions are fixed (LOTJ section V-E). Of `settings` those that its
        config has are changed from now on.

        Raises:
            SettingsError: an agent that is told its task by what is observed in demonstrations, or reads codes.
        """
        if self.algorithm.requires & {"context", "waypoint"}:
            name = agent_name(type(self.algorithm))
            raise SettingsError(f"agent {name}: reads demonstrations or codes as they are, not their features")
        sizes = {FEATURE + role: encoder.size for role, encoder in self.encoders.items()}
        arrays = {name: Array((size,), "float16", -math.inf, math.inf) for name, size in sizes.items()}
        spec = dataclasses.replace(self.spec, observation=arrays)
        known = {field.name for field in dataclasses.fields(self.config)}
        config = dataclasses.replace(self.config, **{name: v for name, v in settings.items() if name in known})
        made = Learner(type(self.algorithm), spec, Features(), config, self.tasks, self.seed, self.device)
        made.take_heads(self)
        return made

    def take_heads(self, other: Learner) -> None:
        """Take over all weights and moments that another learner of this agent has, too: from the one behind an
        encoder to that on its features, or back with what was learnt on these."""
        state = other.state()
        for name, module in self._modules().items():
            own = module.state_dict()
            module.load_state_dict(own | {key: value for key, value in state["modules"][name].items() if key in own})
        self._take_moments(state["moments"])
        self.updates = other.updates

    # State

    def _modules(self) -> dict[str, nn.Module]:
        return {"": self.algorithm, **self.target}

    def state(self) -> dict[str, Any]:
        """Everything that further updates depend on, as tensors (copies) and plain values; all that `load` needs."""
        return {
            "format": STATE_FORMAT,
            "agent": agent_name(type(self.algorithm)),
            "spec": plain(dataclasses.asdict(self.spec)),
            "front": {"kind": type(self.front).__name__, "settings": dataclasses.asdict(self.front)},
            "config": dataclasses.asdict(self.config),
            "tasks": self.tasks,
            "seed": self.seed,
            "updates": self.updates,
            "modules": {name: _copied(module.state_dict()) for name, module in self._modules().items()},
            "moments": {name: _copied(self._moments[name]) for name in self._parameters if name in self._moments},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; further updates are then the same as those of the learner that it is from. Raises
        CheckpointError where format, agent, environment, number of tasks or shapes of networks are others."""
        mine = {"format": STATE_FORMAT, "agent": agent_name(type(self.algorithm)), "tasks": self.tasks}
        for name, value in mine.items():
            if state.get(name) != value:
                raise CheckpointError(f"an agent of {name} {state.get(name)!r}, not {value!r}: choose another run")
        there = Spec.from_json(state["spec"])
        if (there.observation, there.action) != (self.spec.observation, self.spec.action):
            raise CheckpointError(f"an agent for {_shapes(there)}, not for {_shapes(self.spec)}: choose another run")
        try:
            for name, module in self._modules().items():
                module.load_state_dict(state["modules"][name])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError("an agent with other networks: give the settings it was trained with") from error
        self._take_moments(state["moments"])
        self.seed, self.updates = state["seed"], state["updates"]

    @classmethod
    def load(
        cls,
        state: Mapping[str, Any],
        device: str | torch.device = "cpu",
        kind: type[Algorithm] | None = None,
        **settings: Any,
    ) -> Self:
        """The learner of a checkpoint from `state`, of an agent unless the algorithm's `kind` is given, with other
        `settings` of its config, e.g. ``lr``, but not of the networks' shapes. Raises what `restore` does."""
        from lotj.agents import find_agent  # the table imports every algorithm, and these import this package

        if state.get("format") != STATE_FORMAT:
            raise CheckpointError(f"an agent of format {state.get('format')!r}, not {STATE_FORMAT}: train it again")
        kind = kind or find_agent(state["agent"])
        spec, name = Spec.from_json(state["spec"]), state["front"]["kind"]
        config = restore_settings(kind.CONFIG, state["config"], f"{state['agent']} checkpoint")
        front = restore_settings(FRONTS[name], state["front"]["settings"], f"{name} of a checkpoint")
        config = dataclasses.replace(config, **settings)
        made = cls(kind, spec, front, config, state["tasks"], state["seed"], device)
        made.restore(state)
        return made

    def _take_moments(self, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        self._moments = {
            name: {key: value.to(self.device, copy=True) for key, value in moments[name].items()}
            for name in self._parameters
            if name in moments
        }


def agent_name(kind: type[Algorithm]) -> str:
    """Name of an algorithm: that of its module."""
    return kind.__module__.rpartition(".")[2].replace("_", "-")


def _rows(observation: Mapping[str, Any]) -> int:
    return len(next(iter(observation.values())))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _part(brought: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in brought.items() if name.startswith(prefix)}


def _shapes(spec: Spec) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in spec.observation.items()) + f", action {spec.action}"


def _clip(gradients: Iterable[Tensor | None], limit: float) -> Tensor:
    """Scale gradients down to a joint norm of `limit` (0: leave them); returns what the norm was, ().

    torch's own does the same; on a CPU its bookkeeping costs as much again as the work.
    """
    given = [gradient for gradient in gradients if gradient is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in given]))
    if limit > 0:
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        for gradient in given:
            gradient.mul_(scale)
    return norm
