"""Client of Ray's job server: submits a job under its name, or joins the running one, and follows its log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import aiohttp
import requests
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from blear.errors import RunError
from blear.progress import echo
from blear.storage.transient import retry_transient

Result = TypeVar("Result")

_POLL_EVERY_S = 0.5
_TRIES = 5
STOPPED_EXIT_CODE = 143
"""Exit code for a stopped job, the same as for a process that SIGTERM ended."""


@contextlib.contextmanager
def _connection_errors(address: str) -> Iterator[None]:
    """Context that converts the exceptions of Ray's client to a RunError with a remedy."""
    try:
        yield
    except AuthenticationError as error:
        invalid = "invalid" in str(error).lower()
        raise RunError(
            "the cluster refuses this token" if invalid else "the cluster asks for a token",
            address,
            "export RAY_AUTH_MODE=token and the cluster's token as RAY_AUTH_TOKEN, or write it to ~/.ray/auth_token",
        ) from error
    except (OSError, RayError, requests.RequestException, aiohttp.ClientError) as error:
        raise RunError(
            f"no Ray job server answers: {error}",
            address,
            "give --address http://HOST:8265; `ray dashboard cluster.yaml` forwards a cluster's own to localhost:8265",
        ) from error
    except RuntimeError as error:  # Ray's client raises it for every other HTTP status
        raise RunError(f"the job server refused: {error}", address, "see the cluster's dashboard") from error


class JobServer:
    """The job server of one cluster.

    Args:
        address: URL of the server; None: RAY_API_SERVER_ADDRESS or RAY_ADDRESS.

    Raises:
        RunError: the server cannot be reached, or the token is missing or wrong. Every method may raise it too.
    """

    def __init__(self, address: str | None) -> None:
        if address is not None:
            os.environ["RAY_API_SERVER_ADDRESS"] = address  # in Ray, this variable has priority over the argument
        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS", "auto")
        for module in (
            "dashboard.modules.dashboard_sdk",
            "dashboard.modules.job.sdk",
            "_private.runtime_env.packaging",
        ):
            logging.getLogger(f"ray.{module}").setLevel(logging.WARNING)
        self._client = self._call(lambda: JobSubmissionClient(self.address))
        self.address = self._client.get_address()

    def all_jobs(self) -> list[JobDetails]:
        """All submissions, the oldest first."""
        return sorted(self._call(lambda: self._client.list_jobs()), key=lambda job: job.start_time or 0)

    def jobs(self, name: str) -> list[JobDetails]:
        """Submissions of the job of this name, oldest first."""
        submissions = self._call(lambda: self._client.list_jobs())
        numbered = [(number, job) for job in submissions if (number := _number(name, job.submission_id)) is not None]
        return [job for _, job in sorted(numbered, key=lambda pair: pair[0])]

    def submit(self, name: str, entrypoint: str, runtime_env: Mapping[str, Any]) -> tuple[str, bool]:
        """Submits a job, or joins the running job of this name.

        Args:
            name: the job's name; submissions are NAME-1, NAME-2, ...
            entrypoint: the command that the cluster runs.
            runtime_env: Ray's runtime environment: working directory and wheels.

        Returns:
            The submission id, and whether a running job was joined.

        Raises:
            RunError: a job of this name runs with another command.
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
        return self.start(f"{name}-{number}", entrypoint, runtime_env), False

    def start(self, job_id: str, entrypoint: str, runtime_env: Mapping[str, Any]) -> str:
        """Submits a job under an id; returns the id. A submission whose reply was lost is not repeated."""
        tried: list[bool] = []

        def submit() -> str:
            if tried and any(job.submission_id == job_id for job in self._client.list_jobs()):
                return job_id
            tried.append(True)
            return str(
                self._client.submit_job(entrypoint=entrypoint, submission_id=job_id, runtime_env=dict(runtime_env))
            )

        return self._call(submit)

    def log(self, job_id: str) -> str:
        """The whole log of a job."""
        return str(self._call(lambda: self._client.get_job_logs(job_id)))

    def wait(self, job_id: str) -> JobDetails:
        """Waits until a job has ended; returns its details."""
        return self._ended(job_id)

    def follow(self, job_id: str, write: Callable[[str], None]) -> int:
        """Writes a job's log until it ends. Returns 0, the job's own exit code, or `STOPPED_EXIT_CODE`."""
        self._await_start(job_id)
        written, failures = 0, 0
        while True:
            try:
                written = asyncio.run(self._tail(job_id, write, written))
                break
            except (aiohttp.ClientError, RuntimeError, OSError) as error:
                failures += 1
                if failures == _TRIES:
                    raise RunError(
                        f"the connection was lost: {error}",
                        self.address,
                        "the job may still run; the same command joins it",
                    ) from error
                time.sleep(_POLL_EVERY_S)
        details = self._ended(job_id)
        if details.status == JobStatus.SUCCEEDED:
            echo(f"{job_id} succeeded")
            return 0
        if details.status == JobStatus.STOPPED:
            echo(f"{job_id} was stopped; the same command continues it")
            return STOPPED_EXIT_CODE
        reason = (details.message or "no message").splitlines()[0]  # Ray appends the end of the log
        echo(f"{job_id} failed: {reason.removesuffix(', last available logs (truncated to 20,000 chars):')}")
        return details.driver_exit_code or 1

    def _await_start(self, job_id: str) -> None:
        """Waits while the job is pending; prints the reason when it changes."""
        printed = ""
        while (details := self._details(job_id)).status == JobStatus.PENDING:
            if details.message and details.message != printed:
                printed = details.message
                echo(f"{job_id} is pending: {printed}")
            time.sleep(_POLL_EVERY_S)

    async def _tail(self, job_id: str, write: Callable[[str], None], written: int) -> int:
        """Reads the log, skips its first `written` characters; returns the number of characters written so far."""
        position = 0
        async for text in self._client.tail_job_logs(job_id):
            if position + len(text) > written:
                write(text[max(0, written - position) :])
            position += len(text)
            written = max(written, position)
        return written

    def _ended(self, job_id: str) -> JobDetails:
        """Details of the ended job; waits, because its state may change shortly after the end of its log."""
        while not (details := self._details(job_id)).status.is_terminal():
            time.sleep(_POLL_EVERY_S)
        return details

    def _details(self, job_id: str) -> JobDetails:
        return self._call(lambda: self._client.get_job_info(job_id))

    def _call(self, request: Callable[[], Result]) -> Result:
        """Sends a request; repeats it after a transient error; other errors become a RunError."""
        with _connection_errors(self.address):
            return retry_transient(request, _transient, self.address)


def _transient(error: Exception) -> str | None:
    """A few words on an error of a head that is starting; None for other errors."""
    status = re.search(r"status code 5\d\d: ?(.*)", str(error), re.DOTALL)
    if status is not None:
        lines = [line for line in status[1].strip().splitlines() if line.strip()]
        agent = next((line for line in lines if "No available agent" in line), None)
        return (
            "no agent of the cluster is ready to start jobs" if agent else f"the job server failed: {status[0][:120]}"
        )
    if isinstance(error, aiohttp.ClientError | OSError) and "refused" in _chain(error):
        return "the connection is refused"
    return None


def _chain(error: BaseException) -> str:
    """Texts of an exception and of those that caused it."""
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        texts.append(str(link))
        link = link.__cause__ or link.__context__
    return "\n".join(texts)


def run_name(submission_id: str | None) -> str | None:
    """The run of the submission id NAME-NUMBER; None for another job's id."""
    match = re.fullmatch(r"(.+)-\d+", submission_id or "")
    return match[1] if match else None


def _number(name: str, submission_id: str | None) -> int | None:
    """The number in the submission id NAME-NUMBER; None for another job's id."""
    match = re.fullmatch(re.escape(name) + r"-(\d+)", submission_id or "")
    return int(match[1]) if match else None
