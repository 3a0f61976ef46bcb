"""The inline launcher: jobs run in the head's own process, one after the other. For tests and debuggers."""

from __future__ import annotations

import os

from launch import worker
from launch.job import Allocation, Job


class _Finished:
    def __init__(self, code: int) -> None:
        self._code = code
        self.pid = os.getpid()

    def poll(self) -> int | None:
        return self._code

    def stop(self) -> None:
        pass


class InlineLauncher:
    """`start` returns when the job is over."""

    def room(self, resources: Allocation) -> bool:
        return True

    def start(self, job: Job) -> _Finished:
        return _Finished(worker.main([str(folder) for folder in job.folders]))
