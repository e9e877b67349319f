"""What acts without learning: scripted experts, searches, and controllers that a learned model guides."""

from lotj.experience import Controller

__all__ = ["Controller"]
