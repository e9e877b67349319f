"""Batches for learning, drawn from stores of episodes in set shares, and relabelled by hindsight (NumPy only)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lotj.data.store import Store
from lotj.errors import DataError, SettingsError
from lotj.experience import PRACTISED, Batch
from lotj.ranges import SHARE


@dataclass(frozen=True)
class Segment:
    """B transitions of a store, as a relabelling reads them: (B,) the frame at which each begins, (B,) the last of its
    episode, what is learnt from so far, and how many steps a ``waypoint`` lies ahead."""

    store: Store
    frame: np.ndarray
    last: np.ndarray
    batch: Batch
    ahead: int = 0


DERIVED = frozenset({"context", "demo", "next_action", "return", "waypoint"})
"""Columns that a `Replay` makes itself where a source has none: demonstrations of the same task (see `Contexts`);
whether a transition is a demonstration, that is, prior data that the policy is to imitate; the action that follows in
its episode (a transition that a limit has cut off has none and is not drawn); the Monte-Carlo return from it on; and
the ``code`` some steps later in its episode, or at its end."""

DEMONSTRATED = ("human", "demonstrator", "expert")
"""Kinds of episodes that are demonstrations."""

Relabel = Callable[[Segment, np.random.Generator], Batch]
"""Makes another batch of a segment's. It changes nothing in place."""


@dataclass
class Source:
    """Transitions of one store, and what share of each batch they make.

    Attributes:
        store: holds them.
        share: of a batch, in [0, 1]; the shares of all sources of a replay add up to 1.
        rows: (M,) int64, the frames at which the transitions begin; all by default, those that come later included.
        columns: name -> (F, ...) or a single value, in place of what the store says of ``reward`` and ``terminated``,
            and whatever else an agent asks for.
        practised: it is of the task being practised, not of prior data.
        relabel: what is done to the transitions drawn, in this order.
    """

    store: Store
    share: float = 1.0
    rows: np.ndarray | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    practised: bool = False
    relabel: Sequence[Relabel] = ()


@dataclass(frozen=True)
class Contexts:
    """Demonstrated transitions by which an agent is told its task.

    Attributes:
        pools: number of a task -> (N, D) float32: what is observed before, action, reward, what is observed after.
        size: C, how many are drawn for a task in each batch.
    """

    pools: Mapping[int, np.ndarray]
    size: int = 64

    @classmethod
    def of(
        cls, store: Store, names: Sequence[str], practised: bool = False, kinds: Sequence[str] = DEMONSTRATED
    ) -> Contexts:
        """All demonstrations of a store's tasks, observed by `names`; of the task that is `practised`, its only one.
        Episodes of other `kinds` may stand for demonstrations."""
        demos = store.of_frames(store.of_kind(kinds))
        task, starts, pools = store.frame_task, store.starts(), {}
        for number in range(len(store.tasks)):
            rows = starts[demos[starts] & (task[starts] == number)]
            if not len(rows):
                raise DataError(f"{store.tasks[number].name}: no demonstrations ({', '.join(kinds)}): record some")
            before, after = (np.concatenate([*store.observe(at, names).values()], 1) for at in (rows, rows + 1))
            action, reward = store.column("action")[rows], store.column("reward")[rows, None]
            pools[PRACTISED if practised else number] = np.hstack([before, action, reward, after]).astype(np.float32)
        return cls(pools)

    def draw(self, task: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, C, D) for (B,) numbers of tasks: the same for all rows of a task."""
        numbers, place = np.unique(task, return_inverse=True)
        pools = [self.pools[int(number)] for number in numbers]
        return np.stack([pool[rng.integers(len(pool), size=self.size)] for pool in pools])[place]


class Replay:
    """Draws batches from several sources, evenly and with replacement within each.

    How many rows a source gives is its share of the batch, rounded up or down at random so that it is exact in
    expectation. Rows come in the order of the sources.

    Args:
        sources: where from. Sources without a transition are passed over, and the others take their share.
        size: B, rows of a batch.
        columns: what the agent asks for besides, from the sources' columns, notes or truth, or `DERIVED`.
        truth: those of `columns` that may be taken from what only a simulator knows. Practice has none.
        observation: names of what is observed; default: all that the sources' stores hold, which must be the same.
        discount: of the column ``return``, the agent's, in [0, 1].
        ahead: steps to the column ``waypoint``.
        contexts: of the column ``context``, for each task that is drawn.

    Raises:
        SettingsError: shares that do not add up to 1, or the column ``return`` of transitions that are relabelled.
        DataError: a column or observation that a source does not have.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        size: int,
        columns: Collection[str] = (),
        truth: Collection[str] = (),
        observation: Collection[str] | None = None,
        discount: float = 1.0,
        contexts: Contexts | None = None,
        ahead: int = 0,
    ) -> None:
        shares = [source.share for source in sources]
        if size < 1 or not shares or min(shares) < 0 or not abs(sum(shares) - 1.0) <= 1e-9:
            raise SettingsError(f"replay of {size} rows from shares {shares}: at least 1 row, shares that add up to 1")
        self.sources, self.size = sources, size
        if "return" in columns and any(source.relabel for source in sources):
            rule = "what follows would have other rewards, too; switch hindsight off, or take an agent that bootstraps"
            raise SettingsError(f"column 'return' of relabelled transitions: {rule}")
        self._columns, self._truth, self._discount = tuple(columns), frozenset(truth), discount
        self._ahead = ahead
        self._contexts = contexts if "context" in columns else None
        self._columns = tuple(name for name in self._columns if name != "context")
        self._observation = None if observation is None else tuple(observation)
        self._cache: dict[int, tuple[Any, ...]] = {}
        for number in range(len(sources)):
            self._rows(number)

    def sample(self, rng: np.random.Generator) -> Batch:
        """One batch; DataError if no source holds a transition or, where a store has grown, as above."""
        live = [n for n, source in enumerate(self.sources) if len(self._rows(n)[0]) and source.share]
        if not live:
            held = sum(len(source.store) for source in self.sources)
            raise DataError(f"nothing to learn from: none of {held} episodes has a step that starts before success")
        shares = np.array([self.sources[n].share for n in live])
        edges = np.floor(np.cumsum(shares / shares.sum()) * self.size + rng.random()).astype(int)
        edges[-1] = self.size
        counts = np.diff(edges, prepend=0).tolist()
        batch = join([self._draw(n, count, rng) for n, count in zip(live, counts, strict=True) if count])
        if self._contexts is not None:
            batch.columns = {**batch.columns, "context": self._contexts.draw(batch.task, rng)}
        return batch

    def _rows(self, number: int) -> tuple[np.ndarray, ...]:
        """(M,) frames at which a source's transitions begin, (F,) whether that of a frame ends the task, and its
        return if asked for; found anew where its store has grown or its rows are others."""
        source, known = self.sources[number], self._cache.get(number)
        if known is None or known[0] != len(source.store) or known[1] is not source.rows:
            if len(source.store):
                self._check(source)
            starts = source.store.starts() if source.rows is None else source.rows
            known = self._cache[number] = (len(source.store), source.rows, *self._follow(source, starts))
        return known[2:]

    def _follow(self, source: Source, starts: np.ndarray) -> tuple[np.ndarray, ...]:
        """What `_rows` gives, of transitions that begin at `starts`."""
        store, asked = source.store, {*self._columns} - source.columns.keys()
        ended, gained = store.terminated(), np.zeros(0, np.float32)
        own = np.broadcast_to(np.asarray(source.columns.get("terminated", ended), bool), ended.shape)
        if "next_action" in asked:
            starts = starts[own[starts] | ~np.isin(starts + 1, store.last_frames)]
        if "return" in asked and len(store):
            reward = np.broadcast_to(source.columns.get("reward", store.column("reward")), ended.shape)
            gained = returns_to_go(store, reward, own, self._discount)
        return starts, ended, gained

    def _check(self, source: Source) -> None:
        """Whether a source has all that is asked for."""
        schema = source.store.schema
        if self._observation is None:
            self._observation = tuple(schema.observation)
        lacking = [f"observation {name!r}" for name in self._observation if name not in schema.observation]
        true = self._truth & schema.truth.keys()
        made = DERIVED if source.store.whole else {"demo"}
        lacking += [repr(n) for n in self._columns if n not in {*source.columns, *schema.notes, *true, *made}]
        if lacking:
            known = ", ".join([*schema.observation, *source.columns, *schema.notes])
            raise DataError(f"nothing to learn {lacking[0]} from: a source has {known} alone; ask for these, or add it")

    def _draw(self, number: int, count: int, rng: np.random.Generator) -> Batch:
        (starts, terminated, returns), source = self._rows(number), self.sources[number]
        store = source.store
        frame = starts[rng.integers(len(starts), size=count)]
        episode = np.searchsorted(store.episodes["first_frame"], frame, "right") - 1
        last = store.last_frames[episode]
        both = store.observe(np.concatenate([frame, frame + 1]), self._observation)

        def values(name: str) -> np.ndarray:
            """(B, ...) of a source's own column, or else of what its store says."""
            if name in source.columns:
                own = np.asarray(source.columns[name])
                return own[frame] if own.ndim else np.full(count, own)
            if name == "terminated":
                return terminated[frame]
            if name in self._truth and name in store.schema.truth:
                return store.truth(name)[frame]
            if name == "return":
                return returns[frame]
            if name == "next_action":  # of the last step of an episode there is none, and none is needed
                return np.nan_to_num(store.column("action")[frame + 1])
            if name == "waypoint":
                return waypoints(store, frame, self._ahead, last)
            if name == "demo" and name not in store.schema.notes:
                imitated = values("imitate") if "imitate" in source.columns else np.ones(count, bool)
                return imitated & (not source.practised)
            return store.column("reward" if name == "reward" else f"notes/{name}")[frame]

        batch = Batch(
            observation={name: seen[:count] for name, seen in both.items()},
            action=store.column("action")[frame],
            reward=values("reward").astype(np.float32),
            terminated=values("terminated").astype(bool),
            next_observation={name: seen[count:] for name, seen in both.items()},
            task=np.where(source.practised, PRACTISED, store.episodes["task"][episode].astype(np.int64)),
            columns={name: values(name) for name in self._columns},
        )
        for relabel in source.relabel:
            batch = relabel(Segment(store, frame, last, batch, self._ahead), rng)
        return batch


def waypoints(store: Store, frame: np.ndarray, ahead: int, until: np.ndarray) -> np.ndarray:
    """(B, D) codes so many steps after (B,) frames, and no later than at the frames `until`."""
    return store.observe(np.minimum(frame + ahead, until), ["code"])["code"]


def returns_to_go(store: Store, reward: np.ndarray, ended: np.ndarray, discount: float) -> np.ndarray:
    """(F,) float32: the discounted sum of rewards from each frame of a store to the end of its episode, of (F,) rewards
    of the step that begins at a frame, and whether it ended the task. Where a limit has cut an episode off, its last
    reward is taken to go on for ever, as that of a goal that is reached or not (0, -1) would; so do Cal-QL's returns
    (Nakamoto et al. 2023). Without a discount (1) it ends there.
    """
    first, last = store.episodes["first_frame"].astype(np.int64), store.last_frames
    gained = np.zeros(len(reward))
    tail = discount / (1.0 - discount) if discount < 1 else 0.0
    gained[last - 1] = reward[last - 1] * np.where(ended[last - 1], 1.0, 1.0 + tail)
    for back in range(2, int((last - first).max()) + 1):
        frame = (last - back)[last - back >= first]
        gained[frame] = reward[frame] + discount * np.where(ended[frame], 0.0, gained[frame + 1])
    return gained.astype(np.float32)


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of several with the same names, in their order."""
    if len(batches) == 1:
        return batches[0]

    def joined(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Mapping):
            return {name: np.concatenate([value[name] for value in values]) for name in values[0]}
        return np.concatenate(values)

    return Batch(**{name: joined([getattr(batch, name) for batch in batches]) for name in Batch.__dataclass_fields__})


def with_goal(batch: Batch, goal: np.ndarray, reward: Any, terminated: np.ndarray) -> Batch:
    """A batch of other goals (B, G), and what follows from them."""
    before, after = ({**seen, "goal": goal} for seen in (batch.observation, batch.next_observation))
    paid = np.asarray(reward, np.float32)
    return replace(batch, observation=before, next_observation=after, reward=paid, terminated=terminated)


def hindsight(reward: Callable[[np.ndarray, np.ndarray], np.ndarray], share: float = 0.8) -> Relabel:
    """Hindsight relabelling, strategy *future* (Andrychowicz et al. 2017): the goal becomes what was achieved later in
    the same episode. The reward of every transition follows from its goal, whatever the environment paid: one that pays
    a success once would say of the same state that it is worth 1 and nothing. The observation must hold ``goal`` and
    ``achieved_goal``.

    Args:
        reward: (B, G) achieved goals after the step and (B, G) goals -> (B,) reward, above 0 where the goal is reached,
            which ends the task.
        share: of the transitions that get another goal, in [0, 1], else a SettingsError; the paper's 4 of 5.
    """
    SHARE.check("hindsight share", share)

    def relabel(segment: Segment, rng: np.random.Generator) -> Batch:
        batch, count = segment.batch, len(segment.frame)
        later = segment.frame + 1 + rng.integers(segment.last - segment.frame)
        achieved = segment.store.observe(later, ["achieved_goal"])["achieved_goal"]
        chosen = rng.random(count) < share
        goal = np.where(chosen[:, None], achieved, batch.observation["goal"])
        gained = np.asarray(reward(batch.next_observation["achieved_goal"], goal), np.float32)
        return with_goal(batch, goal, gained, (gained > 0) | batch.terminated)

    return relabel
