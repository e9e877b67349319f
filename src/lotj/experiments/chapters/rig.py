"""Visual reinforcement learning with imagined goals (RIG, Nair et al. 2018; chapter 2 of his thesis)."""

from __future__ import annotations

from lotj.experiments.claims import Claim, alike, gate, higher, near_oracle
from lotj.experiments.imagined import (
    EVERY_LINE,
    ORACLE,
    PIXELS,
    ImaginedArm,
    ImaginedChapter,
    ImaginedProblem,
)

RIG = ImaginedArm("RIG", encoder="vae")
ARMS = (
    RIG,
    ImaginedArm("autoencoder", encoder="ae", goals="task", shares={"future": 1.0, "proposed": 0.0}),
    ImaginedArm("autoencoder, own goals", encoder="ae"),
    ImaginedArm("spatial autoencoder", encoder="spatial", goals="task", shares={"future": 1.0, "proposed": 0.0}),
    ImaginedArm("HER", encoder=PIXELS, goals="task", shares={"future": 1.0, "proposed": 0.0}),
    ImaginedArm("precision reward", encoder="vae", reward="precision"),
    ImaginedArm("pixel reward", encoder="vae", reward="pixel"),
    ImaginedArm("future alone", encoder="vae", shares={"future": 1.0, "proposed": 0.0}),
    ImaginedArm("prior alone", encoder="vae", shares={"future": 0.0, "proposed": 1.0}),
    ImaginedArm("no relabelling", encoder="vae", shares={"keep": 1.0, "future": 0.0, "proposed": 0.0}),
    ORACLE,
    *EVERY_LINE,
)
VAE = {"vae": ("vae", {"size": 8})}

CHAPTER = ImaginedChapter(
    name="rig",
    title="Reinforcement learning with imagined goals",
    problems=(
        ImaginedProblem(
            "reacher",
            "push/reacher",
            arms=(RIG, ORACLE, *EVERY_LINE),
            encoders=VAE,
            measure="hand_distance",
            trials=50,
            data={"data": {"count": 100, "recipe": "random"}},
        ),
        ImaginedProblem(
            "one",
            "push/one",
            arms=ARMS,
            encoders={
                **VAE,
                "ae": ("vae", {"size": 8, "kind": "ae"}),
                "spatial": ("vae", {"size": 16, "kind": "spatial"}),
            },
        ),
        ImaginedProblem(
            "two",
            "push/two",
            arms=(RIG, ORACLE, *EVERY_LINE),
            encoders={"vae": ("vae", {"size": 12})},
            trials=50,
            also={"one puck": "push/two,present=1", "no puck": "push/two,present=0"},
        ),
    ),  # fmt: skip
    claims=(
        Claim("R1 pucks end nearer their goals than when nothing is done", higher("one", "RIG", "nothing", 10)),
        Claim("R1 and than after random actions", higher("one", "RIG", "random", 10)),
        Claim("R2 codes of a VAE serve better than a plain autoencoder's", higher("one", "RIG", "autoencoder", 10)),
        Claim("R2 and than one's that imagines goals, too", higher("one", "RIG", "autoencoder, own goals", 10)),
        Claim("R2 and than a spatial autoencoder's", higher("one", "RIG", "spatial autoencoder", 10)),
        Claim("R2 and than hindsight on pixels (HER)", higher("one", "RIG", "HER", 10)),
        Claim("R2 and than the distance of pixels", higher("one", "RIG", "pixel reward", 10)),
        Claim("R3 A = I serves better than the encoder's precision", higher("one", "RIG", "precision reward", 10)),
        Claim("R4 half prior, half future: better than future alone", higher("one", "RIG", "future alone", 10)),
        Claim("R4 and than the prior alone", higher("one", "RIG", "prior alone", 10)),
        Claim("R4 and than none", higher("one", "RIG", "no relabelling", 10)),
        Claim("R5 a quarter of what the oracle has over random actions is lacking at most", near_oracle("one", "RIG")),
        Claim("R6 learnt with two pucks it serves for one", alike("two", "RIG", "one puck", 10)),
        Claim(
            "gate: latent distance ranks as the true one, 0.6 or more",
            gate("one", "encoder vae", ("gates", "rank"), 0.6),
        ),
        Claim("gate: and as the puck's alone, 0.4 or more", gate("one", "encoder vae", ("gates", "rank_object"), 0.4)),
    ),
)
