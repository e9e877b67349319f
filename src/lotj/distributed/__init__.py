"""A list of jobs, done here, in several processes, or on a Ray cluster."""

from lotj.distributed.jobs import Job, read_results, run_jobs

__all__ = ["Job", "read_results", "run_jobs"]
