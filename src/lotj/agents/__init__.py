"""Learners: an agent acts, updates itself on batches and says how that went in named numbers."""

from lotj.agents.iql import IQL
from lotj.agents.iql_config import IQLConfig

__all__ = ["IQL", "IQLConfig"]
