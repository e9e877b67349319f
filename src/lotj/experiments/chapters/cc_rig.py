"""Contextual imagined goals (CC-RIG, Nair et al. 2019; chapter 3 of his thesis)."""

from __future__ import annotations

from lotj.experiments.claims import Claim, alike, gate, higher, lower_by, near_oracle
from lotj.experiments.imagined import (
    EVERY_LINE,
    ORACLE,
    ImaginedArm,
    ImaginedChapter,
    ImaginedProblem,
)

CC, RIG = ImaginedArm("CC-RIG", encoder="cc-vae"), ImaginedArm("RIG", encoder="vae")


def _models(size: int, context: int) -> dict[str, tuple[str, dict[str, int]]]:
    """The plain model may have as many entries as code and context together."""
    return {"cc-vae": ("cc-vae", {"size": size, "context_size": context}), "vae": ("vae", {"size": size + context})}


def _problem(name: str, task: str, size: int, context: int, held_out: str) -> ImaginedProblem:
    arms = (CC, RIG, ORACLE, *EVERY_LINE)
    return ImaginedProblem(name, task, arms=arms, encoders=_models(size, context), also={"held out": held_out})


CHAPTER = ImaginedChapter(
    name="cc-rig",
    title="Contextual imagined goals",
    problems=(
        _problem("colour", "push/one,vary=colour", 8, 8, "push/one,vary=colour,split=held-out"),
        _problem("shape", "push/one,vary=shape", 8, 12, "push/one,vary=shape,split=held-out"),
        _problem("maze", "maze2d/seen", 4, 8, "maze2d/unseen"),
    ),
    claims=(
        *(
            claim
            for name in ("colour", "shape", "maze")
            for claim in (
                Claim(f"C1 {name}: CC-RIG ends nearer than nothing does", higher(name, "CC-RIG", "nothing", 10)),
                Claim(f"C1 {name}: and RIG does not", lower_by(name, "nothing", "RIG", 5)),
                Claim(f"C1 {name}: CC-RIG ends nearer than RIG", higher(name, "CC-RIG", "RIG", 10)),
                Claim(f"C4 {name}: of the oracle's lead over random a quarter is lacking", near_oracle(name, "CC-RIG")),
                Claim(f"C5 {name}: what is held out is no worse", alike(name, "CC-RIG", "held out", 10)),
            )
        ),
        Claim(
            "C2 samples keep the scene's colour, 90 %", gate("colour", "encoder cc-vae", ("gates", "same_colour"), 0.9)
        ),
        Claim(
            "C2 a VAE's by chance alone, below 30 %", gate("colour", "encoder vae", ("gates", "same_colour"), most=0.3)
        ),
        Claim(
            "C3 places can be read from the code", gate("colour", "encoder cc-vae", ("gates", "places_from_code"), 0.7)
        ),
        Claim("C3 colour cannot", gate("colour", "encoder cc-vae", ("gates", "colour_from_code"), most=0.2)),
        Claim("C3 but from the context", gate("colour", "encoder cc-vae", ("gates", "colour_from_context"), 0.8)),
        Claim(
            "C6 the encoder's own random data serve: before practice it ends nearer than nothing does",
            higher("colour", "CC-RIG", "nothing", 10, at=0),
        ),
    ),
)
