"""Handing one job to Slurm, until Slurm has it: once, whatever becomes of its answers.

A call of sbatch that was not answered may have been heard. Before the next one the queue is read, where the token in
the job's name finds it.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from launch import queue, slurm
from launch.queue import Queue, Unanswered
from launch.slurm import Full, Refused, Silent, Submission, Unclear

#: How often a job is handed in anew of which Slurm says nothing that is clear, while its queue answers without the job.
TRIES = 8


class Unexplained(Exception):
    """Slurm does not take a job, and does not say why."""


class Handing:
    """One job on its way to Slurm. `tell` shows a person what is waited for; `calls` counts those of sbatch."""

    def __init__(self, given: Submission, token: str, tell: Callable[[str], None]) -> None:
        self._given, self._token, self._tell = given, token, tell
        self._tries = self._unclear = 0
        self.calls = 0

    def accepted(self) -> str:
        """The id of the job; waits for room in the queue, and for an answer.

        Raises:
            Refused: Slurm does not take it.
            Unexplained: nor does it say why.
        """
        tries = Retrying(
            retry=retry_if_exception_type((Full, Silent)),
            wait=wait_exponential(min=1, max=20),
            before_sleep=self._tell_why,
            reraise=True,
        )
        return tries(self._once)

    def _once(self) -> str:
        """One call of sbatch; before a second one, look whether the first was heard."""
        self._tries += 1
        if self._tries > 1 and (heard := self._heard()) is not None:
            return heard
        self.calls += 1
        try:
            return slurm.submit(self._given)
        except Full as error:
            # The same words may mean that the job itself is too large; with an empty queue nothing else can be meant.
            if not any(not entry.ended for entry in queue_of_mine().entries):
                raise Refused(str(error)) from None
            raise
        except Unclear as error:
            self._unclear += 1
            if self._unclear >= TRIES and self._heard() is None:
                what = f"Slurm did not take the job in {TRIES} attempts, and its queue does not have it"
                raise Unexplained(f"{what}; sbatch says: {error}") from None
            raise

    def _heard(self) -> str | None:
        """The id of a job whose answer was lost; None if Slurm does not have it."""
        heard = {entry.id.partition("_")[0] for entry in queue_of_mine().entries if entry.token == self._token}
        return max(heard, key=int) if len(heard) > self._given.segment else None

    def _tell_why(self, state: RetryCallState) -> None:
        assert state.outcome is not None and state.next_action is not None
        self._tell(f"Slurm: {state.outcome.exception()}; trying again in {state.next_action.sleep:.0f} s")


def queue_of_mine() -> Queue:
    """One's own jobs.

    Raises:
        Silent: Slurm does not say.
    """
    try:
        return queue.read([getpass.getuser()])
    except Unanswered as error:
        raise Silent(str(error)) from None
