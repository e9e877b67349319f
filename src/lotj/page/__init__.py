"""A small local page on which a person follows a practice, answers its questions and corrects the robot."""

from lotj.page.page import Page

__all__ = ["Page"]
