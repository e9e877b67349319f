"""What acts without learning: scripted experts, searches, and controllers that a learned model guides."""

from lotj.experience import Controller

__all__ = ["Controller", "Memoryless"]


class Memoryless:
    """A controller that decides anew at every step, from the observation alone."""

    def reset(self, seed: int) -> None:
        """Start an episode; nothing to remember."""
