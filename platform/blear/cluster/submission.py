"""Jobs on Ray's job server: connect, submit under the job's name or join what runs, follow the log to the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import aiohttp
import requests
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from blear.errors import RunError
from blear.progress import echo

_LOOK_EVERY_S = 1.0
_TRIES = 5
STOPPED = 143
"""Exit code for a job that somebody stopped, as of a process ended by SIGTERM."""


@contextlib.contextmanager
def _answers(address: str) -> Iterator[None]:
    """Turns what Ray's client raises into what a person can mend."""
    try:
        yield
    except AuthenticationError as error:
        wrong = "invalid" in str(error).lower()
        raise RunError(
            "the cluster refuses this token" if wrong else "the cluster asks for a token",
            address,
            "export RAY_AUTH_MODE=token and the cluster's token as RAY_AUTH_TOKEN, or write it to ~/.ray/auth_token",
        ) from error
    except (OSError, RayError, requests.RequestException, aiohttp.ClientError) as error:
        raise RunError(
            f"no Ray job server answers: {error}",
            address,
            "give --address http://HOST:8265; `ray dashboard cluster.yaml` forwards a cluster's own to localhost:8265",
        ) from error
    except RuntimeError as error:  # what the client makes of every other HTTP status
        raise RunError(f"the job server refused: {error}", address, "see the cluster's dashboard") from error


class JobServer:
    """The job server of one cluster.

    Raises:
        RunError: nobody answers, or the token is missing or wrong; also from every method.
    """

    def __init__(self, address: str | None) -> None:
        if address is not None:
            os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray lets its variables win over an argument
        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS", "auto")
        for module in ("dashboard_sdk", "job.sdk"):
            logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
        with _answers(self.address):
            self._client = JobSubmissionClient(self.address)
        self.address = self._client.get_address()

    def jobs(self, name: str) -> list[JobDetails]:
        """Submissions of a job's name, the oldest first."""
        with _answers(self.address):
            every = self._client.list_jobs()
        numbered = [(number, job) for job in every if (number := _number(name, job.submission_id)) is not None]
        return [job for _, job in sorted(numbered, key=lambda pair: pair[0])]

    def submit(self, name: str, entrypoint: str, runtime_env: Mapping[str, Any]) -> tuple[str, bool]:
        """Starts a job, or joins the one of this name that runs: (submission id, whether it was joined).

        Raises:
            RunError: one of this name runs with another command.
        """
        earlier = self.jobs(name)
        for job in earlier:
            if job.status.is_terminal():
                continue
            if job.entrypoint != entrypoint:
                raise RunError(
                    f"{job.submission_id} still runs with another command: {job.entrypoint}",
                    name,
                    f"give --set name=OTHER, or stop it: ray job stop {job.submission_id} --address {self.address}",
                )
            return str(job.submission_id), True
        number = max((_number(name, job.submission_id) or 0 for job in earlier), default=0) + 1
        with _answers(self.address):
            started = self._client.submit_job(
                entrypoint=entrypoint, submission_id=f"{name}-{number}", runtime_env=dict(runtime_env)
            )
        return started, False

    def follow(self, job_id: str, write: Callable[[str], None]) -> int:
        """Writes a job's log until it ends; returns its exit code: 0, its own, or `STOPPED`."""
        self._await_start(job_id)
        seen, failures = 0, 0
        while True:
            try:
                seen = asyncio.run(self._tail(job_id, write, seen))
                break
            except (aiohttp.ClientError, RuntimeError, OSError) as error:
                failures += 1
                if failures == _TRIES:
                    raise RunError(
                        f"the connection was lost: {error}",
                        self.address,
                        "the job may go on; the same command joins it",
                    ) from error
                time.sleep(_LOOK_EVERY_S)
        details = self._ended(job_id)
        if details.status == JobStatus.SUCCEEDED:
            echo(f"{job_id} succeeded")
            return 0
        if details.status == JobStatus.STOPPED:
            echo(f"{job_id} was stopped; the same command continues it")
            return STOPPED
        reason = (details.message or "no message").splitlines()[0]  # Ray adds the end of the log
        echo(f"{job_id} failed: {reason.removesuffix(', last available logs (truncated to 20,000 chars):')}")
        return details.driver_exit_code or 1

    def _await_start(self, job_id: str) -> None:
        """Waits while the job is pending; says why, when that changes."""
        told = ""
        while (details := self._details(job_id)).status == JobStatus.PENDING:
            if details.message and details.message != told:
                told = details.message
                echo(f"{job_id} is pending: {told}")
            time.sleep(_LOOK_EVERY_S)

    async def _tail(self, job_id: str, write: Callable[[str], None], seen: int) -> int:
        """Follows the log from its beginning, leaves out what was written before; returns the characters so far."""
        position = 0
        async for text in self._client.tail_job_logs(job_id):
            if position + len(text) > seen:
                write(text[max(0, seen - position) :])
            position += len(text)
            seen = max(seen, position)
        return seen

    def _ended(self, job_id: str) -> JobDetails:
        """The job's details; its state may come a moment after the end of its log."""
        while not (details := self._details(job_id)).status.is_terminal():
            time.sleep(_LOOK_EVERY_S)
        return details

    def _details(self, job_id: str) -> JobDetails:
        with _answers(self.address):
            return self._client.get_job_info(job_id)


def _number(name: str, submission_id: str | None) -> int | None:
    """The number behind the name in a submission's id; None where it is another job's."""
    match = re.fullmatch(re.escape(name) + r"-(\d+)", submission_id or "")
    return int(match[1]) if match else None
