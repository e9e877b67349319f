"""Offline meta-reinforcement learning with demonstration adaptation (ODA, Zhao et al. 2022)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lotj.distributed import Job
from lotj.experiments.chapter import Chapter, seed_by_seed
from lotj.experiments.chapter_jobs import LINES, collect_job, learn_job, line_job
from lotj.experiments.chapters.ddpg_demos import CLONING
from lotj.experiments.claims import Claim, Curves, paired, reaches, solved_after, solved_sooner, success_rate
from lotj.experiments.meta import adapt_job, merge_job, meta_job
from lotj.experiments.study import Asked, page
from lotj.experiments.tables import markdown, mean_words

TRAIN = (
    "usb-a",
    "lego-2x4",
    "rj45",
    "d-sub-de-9",
    "din-5",
    "hdmi-a",
    "usb-c",
    "m12-a-5",
    "dc-5-5x2-1",
    "xt60",
    "mini-fit-jr-6",
)
"""None is of the mains, a peg or a DT."""
OWN_WAY = ("lego-2x4", "usb-c")
"""Of these the ones that need a way of their own, for E-Model-10p: a hard press without play, and a tight shroud."""
FEWER = (1, 2, 4, 8)
"""Numbers of training parts, each drawn anew for every seed."""

TEST = ("nema-14-30", "peg-rect-16x10", "peg-round-12", "bs-1363", "deutsch-dt-4", "peg-square-12", "deutsch-dt-3")
HELD_OUT = ("nema-5-15", "europlug")
"""Test connectors of *Learning on the Job*: tried by this chapter's one final run alone."""

CHALLENGE = ("ddr4-dimm", "complex-key")
OPTIONS = "start=far,step_mm=2.5"
AGENTS: Mapping[str, Mapping[str, Any]] = {
    "oda": {"advantage_scale": 20.0, "kl_weight": 1e-4},  # printed: 0.01, beside a cross-entropy, see the predictions
    "awac": {"advantage_scale": 20.0},
    "ddpg": {},
}
PRACTICE = {"updates_per_step": 1, "warmup_trials": 2, "exploration_noise": 0.05}
UPDATES, EPISODES, DEMOS, TRIALS = 10_000, 200, 20, 100
CLONED = 5_000
"""Updates of behaviour cloning on the demonstrations of a part."""


class MetaChapter(Chapter):
    """Trains on the data of eleven parts, tells by demonstrations of each other part what it is, and practises."""

    def jobs(self, asked: Asked) -> list[Job]:
        size, new = self.size, (*TEST, *HELD_OUT, *CHALLENGE)
        made = [self._demos(asked, part) for part in (*TRAIN, *new)]
        made += [self._scratch(asked, part, 0) for part in TRAIN]
        made += [self._merged(asked, "data", TRAIN), self._merged(asked, "data-and-demos", TRAIN, new)]
        for agent, seed in itertools.product(AGENTS, range(size.seeds)):
            data = "data-and-demos" if agent == "awac" else "data"
            made.append(self._meta(asked, agent, seed, data))
            own_way = OWN_WAY if agent != "ddpg" else ()
            for place, part in enumerate((*new, *own_way)):
                trials = round(size.share * TRIALS) if agent != "ddpg" and part in new else 0
                other = new[place - 1] if part in new else ""
                made.append(self._adapt(asked, agent, part, seed, other, trials))
        for part, line in itertools.product(new, LINES):
            made.append(Job(f"{line}-{part}-0", line_job, {**self._tried(part, 0), "controller": line}))
        for few, seed in itertools.product(FEWER, range(size.seeds)):
            made += self._fewer(asked, few, seed)
        for part, seed in itertools.product(new, range(size.seeds)):
            made += [self._scratch(asked, part, seed), self._cloned(asked, part, seed)]
        return seed_by_seed(made)

    def _tried(self, part: str, seed: int) -> dict[str, Any]:
        """What whoever learns or plays on one part alone is told."""
        task = _task(part)
        return {"task": task, "evaluated": task, "seed": seed, "evaluation_trials": self.size.evaluation_trials}

    def _demos(self, asked: Asked, part: str) -> Job:
        how = {"task": _task(part), "count": DEMOS, "recipe": "human"}
        return Job.in_folder(asked.runs / self.name, f"demos-{part}", collect_job, how)

    def _scratch(self, asked: Asked, part: str, seed: int) -> Job:
        """DDPG from demonstrations; of the training parts its trials are the prior data."""
        how = {"agent": "ddpg", "settings": {**CLONING, "hidden": (256, 256)}, "updates": 0, "share": 0.3}
        return self._alone(asked, "scratch", part, seed, {**how, "trials": max(4, round(self.size.share * EPISODES))})

    def _cloned(self, asked: Asked, part: str, seed: int) -> Job:
        """Behaviour cloning on the demonstrations alone."""
        how = {"agent": "bc", "settings": {}, "updates": round(self.size.share * CLONED), "share": 0.0, "trials": 0}
        return self._alone(asked, "cloned", part, seed, how)

    def _alone(self, asked: Asked, who: str, part: str, seed: int, how: Mapping[str, Any]) -> Job:
        """Learns from the demonstrations of one part alone."""
        root, demos = asked.runs / self.name, f"demos-{part}"
        given = {**self._tried(part, seed), **how, "data": str(root / demos / "data")}
        given |= {"practice": PRACTICE, "online": {}, "points": []}
        return Job.in_folder(root, f"{who}-{part}-{seed}", learn_job, given, (demos,), asked.machine)

    def _merged(self, asked: Asked, name: str, parts: Sequence[str], more: Sequence[str] = ()) -> Job:
        root, demos = asked.runs / self.name, [f"demos-{part}" for part in (*parts, *more)]
        practised = [f"scratch-{part}-0" for part in parts]
        given = {"demos": [str(root / one) for one in demos], "practised": [str(root / one) for one in practised]}
        return Job.in_folder(root, name, merge_job, given, (*demos, *practised))

    def _meta(self, asked: Asked, agent: str, seed: int, data: str, trained: str = "") -> Job:
        """Trains the policy for all parts; by name that of the agent, or another of it."""
        root = asked.runs / self.name
        given = {"agent": agent, "settings": dict(AGENTS[agent]), "data": str(root / data), "seed": seed}
        given |= {"updates": round(self.size.share * UPDATES)}
        return Job.in_folder(root, f"meta-{trained or agent}-{seed}", meta_job, given, (data,), asked.machine)

    def _adapt(
        self, asked: Asked, agent: str, part: str, seed: int, other: str = "", trials: int = 0, trained: str = ""
    ) -> Job:
        """What the policy of a `_meta` does on a part."""
        root, trained = asked.runs / self.name, trained or agent
        needs = [f"meta-{trained}-{seed}", f"demos-{part}", *([f"demos-{other}"] if other else [])]
        folders = dict(zip(("trained", "demos", "other"), (str(root / need) for need in needs), strict=False))
        given = {"task": _task(part), "agent": agent, "seed": seed, "other": "", **folders, "trials": trials}
        given |= {"points": [], "evaluation_trials": self.size.evaluation_trials, "practice_settings": PRACTICE}
        return Job.in_folder(root, f"{trained}-{part}-{seed}", adapt_job, given, needs, asked.machine)

    def _fewer(self, asked: Asked, few: int, seed: int) -> list[Job]:
        """ODA trained on so many parts, tried on the test parts."""
        data, trained = f"data-{few}-{seed}", f"oda{few}"
        parts = [TRAIN[k] for k in np.random.default_rng([seed, few]).permutation(len(TRAIN))[:few]]
        made = [self._merged(asked, data, parts), self._meta(asked, "oda", seed, data, trained)]
        return made + [self._adapt(asked, "oda", part, seed, trained=trained) for part in TEST]

    def _seeds_done(self, curves: Curves) -> int:
        """The fewest of who learns a part and has begun."""
        return min((len(done) for done in curves.values() if done), default=self.size.seeds)

    def curves(self, results: Mapping[str, Any]) -> Curves:
        """The results by part and who learnt; what is told by another context as curves of one point."""
        found: dict[tuple[str, str], Sequence[Mapping[str, Any]]] = {}
        for part in (*TEST, *HELD_OUT, *CHALLENGE, *OWN_WAY):
            learnt = _TOLD_APART if part in OWN_WAY else _LEARNT  # from nothing the prior data's one seed learnt these
            of = {title: self._done(who, part, results) for title, who in learnt.items()}
            told = {f"told {by}": [{**one, "curve": [one["told"][by]]} for one in of["ODA"] if by in one["told"]]
                    for by in _TOLD}  # fmt: skip
            found |= {(part, title): done for title, done in {**of, **told}.items()}
        return found

    def _done(self, who: str, part: str, results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        names = ((seed, f"{who}-{part}-{seed}") for seed in range(self.size.seeds))
        return [{**results[name], "seed": seed} for seed, name in names if name in results]

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        rows = []
        for part in (*TEST, *HELD_OUT, *CHALLENGE):
            done = {who: self._done(who, part, results) for who in {*_SOLVED, *(who for who, _ in _COLUMNS.values())}}
            cells = [[success_rate(one["curve"][place]) for one in done[who]] for who, place in _COLUMNS.values()]
            told = [[success_rate(of) for one in done["oda"] if (of := one["told"].get(by))] for by in _TOLD]
            counts = [", ".join(str(solved_after(one) or "-") for one in done[who]) or "-" for who in _SOLVED]
            rows.append([part, *map(mean_words, [*cells, *told]), *counts])
        head = ["part", *_COLUMNS, *(f"ODA, told {by}" for by in _TOLD), *_SOLVED.values()]
        parts = [
            self.verdicts(self.curves(results)),
            "## Parts\n",
            markdown(head, rows),
            self._heard(results),
            *self._trained_on(results),
        ]
        return {"table.md": page(self.title, parts, results)}

    def _heard(self, results: Mapping[str, Any]) -> str:
        """How much z says at the end of ODA's training, the mean over seeds; near 0 the policy does not listen."""
        nats = [one["kl_nats"] for seed in range(self.size.seeds) if (one := results.get(f"meta-oda-{seed}"))]
        return f"ODA's z tells {np.mean(nats):.2f} nats at the end of its training.\n" if nats else ""

    def _trained_on(self, results: Mapping[str, Any]) -> list[str]:
        """What is reached, told, on parts of the training, and on new ones by the number of parts of the training: the
        mean over parts, of each seed."""

        def told(who: str, parts: Sequence[str]) -> str:
            seeds = [[f"{who}-{part}-{seed}" for part in parts] for seed in range(self.size.seeds)]
            done = [[results[name] for name in names] for names in seeds if set(names) <= results.keys()]
            return mean_words([float(np.mean([success_rate(one["curve"][0]) for one in of])) for of in done])

        own_way = [[part, told("oda", [part]), told("awac", [part])] for part in OWN_WAY]
        fewer = [[str(few), told(f"oda{few}", TEST)] for few in FEWER] + [[str(len(TRAIN)), told("oda", TEST)]]
        return [
            "## Parts of the training that need a way of their own, told\n",
            markdown(["part", "ODA", "AWAC, shared"], own_way),
            "\n## ODA on new parts, told, by the number of its training parts\n",
            markdown(["training parts", "% success"], fewer),
        ]


_COLUMNS = {
    "ODA, told": ("oda", 0),
    "AWAC, shared": ("awac", 0),
    "DDPG, offline": ("ddpg", 0),
    "ODA, practised": ("oda", -1),
    "AWAC, practised": ("awac", -1),
    "DDPG from demonstrations": ("scratch", -1),
    "BC on the demonstrations": ("cloned", -1),
    **{line: (line, -1) for line in LINES},
}
"""Title -> whose jobs, and which point of their curves."""

_TOLD = ("nothing", "own rollouts", "another part", "shuffled")
_SOLVED = {"oda": "ODA solved after", "awac": "AWAC solved after", "scratch": "DDPG solved after"}
_LEARNT = {"ODA": "oda", "AWAC": "awac", "DDPG, offline": "ddpg", "DDPG": "scratch", "BC": "cloned"}
_LEARNT |= {f"ODA of {few}": f"oda{few}" for few in FEWER}
_TOLD_APART = {"ODA": "oda", "AWAC": "awac"}


def _task(part: str) -> str:
    """As in the paper without noise on the parts unlike any."""
    return f"force-insertion/{part},{OPTIONS},goal_error={0 if part in CHALLENGE else 1}"


_NINE = (*TEST, *HELD_OUT)
_NEW = (*_NINE, *CHALLENGE)
_CLAIMS = (
    Claim("O1: told by demonstrations it beats one shared policy", paired(_NINE, ("ODA", 0), ("AWAC", 0))),
    Claim("O2: also on parts of the training, by 10 points", paired(OWN_WAY, ("ODA", 0), ("AWAC", 0), 10.0)),
    Claim("O3: after practice nearly all trials succeed, 95 %", reaches(_NINE, ("ODA", -1), 95)),
    Claim("O3: it is solved sooner than by one shared policy", solved_sooner(_NEW, "ODA", "AWAC", 1.3)),
    Claim("O3: and twice as soon as from nothing", solved_sooner(_NEW, "ODA", "DDPG", 2.0)),
    Claim("O3: cloning the demonstrations does not do", paired(_NEW, ("ODA", -1), ("BC", -1))),
    Claim("O4: DDPG makes nothing of the same data, 5 % at most", reaches(_NINE, ("DDPG, offline", 0), 5, -1)),
    Claim("O5: practice solves parts unlike any, 95 %", reaches(CHALLENGE, ("ODA", -1), 95)),
    Claim("O6: eleven parts of training are better than one", paired(TEST, ("ODA", 0), ("ODA of 1", 0))),
    *(
        Claim(f"O7: told {by} it does worse", paired(_NINE, ("ODA", 0), (f"told {by}", 0)))
        for by in _TOLD
    ),
)  # fmt: skip

CHAPTER = MetaChapter("oda", "Offline meta-reinforcement learning with demonstrations", (), _CLAIMS)
