"""Decodes uploads in processes with limits; a process that dies or takes too long is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from typing import IO, Self

import numpy as np

from blear.predict.video import FrameWindow
from blear.serve.decode_process import LENGTHS, write_message
from blear.serve.held_bytes import Claim, HeldBytes
from blear.serve.limits import BusyError, TooLargeError, UploadError, UploadLimits, WrongTypeError

_ERRORS = {error.__name__: error for error in (TooLargeError, WrongTypeError)}


@dataclass(frozen=True)
class Upload:
    """A decoded upload.

    Attributes:
        kind: `picture` or `video`.
        windows: the frames to predict, each with those before it.
        notes: lines for the user.
    """

    kind: str
    windows: list[FrameWindow]
    notes: list[str]

    @property
    def bytes(self) -> int:
        """Size of the decoded frames."""
        return sum({id(image): image.nbytes for window in self.windows for image in window.images}.values())


class DecoderPool:
    """Processes that decode uploads.

    Args:
        limits: of each upload.
        length: frames of a window of a video.
        processes: number of processes.
        held: what the server holds; the frames of an upload count in the claim that is given with it.
    """

    def __init__(self, limits: UploadLimits, length: int, processes: int, held: HeldBytes | None = None) -> None:
        self._held = HeldBytes(limits.held) if held is None else held
        self._limits, self._length, self._waiting = limits, length, 0
        self._free: SimpleQueue[_Decoder] = SimpleQueue()
        self._decoders = [_Decoder(limits) for _ in range(processes)]
        for decoder in self._decoders:
            self._free.put(decoder)
        self._threads = ThreadPoolExecutor(processes, "decoder")

    async def decode(self, data: bytes, claim: Claim | None = None) -> Upload:
        """Decodes a file.

        Args:
            claim: gets the size of the frames.

        Raises:
            UploadError: the file is refused or damaged, exceeds a limit, or too many uploads wait.
        """
        if self._waiting >= self._limits.waiting:
            raise BusyError("too many uploads at one time", do="try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, data, claim)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._decoders:
            decoder.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _decode(self, data: bytes, claim: Claim | None) -> Upload:
        self._held.require_room()  # others may have been decoded while this file waited
        decoder = self._free.get()
        try:
            upload = decoder.decode(data, self._length)
            if claim is not None:
                claim.change(upload.bytes)
            return upload
        finally:
            self._free.put(decoder)


class _Decoder:
    """One decoding process."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._process = self._start()

    def decode(self, data: bytes, length: int) -> Upload:
        """See `DecoderPool.decode`."""
        if self._process.poll() is not None:
            self._close()
            self._process = self._start()
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        deadline = time.monotonic() + self._limits.wall_s
        try:
            write_message(requests, {"length": length}, data)  # type: ignore[arg-type]
            header_size, content_size = LENGTHS.unpack(self._receive(replies, LENGTHS.size, deadline))
            reply = json.loads(self._receive(replies, header_size, deadline))
            content = self._receive(replies, content_size, deadline)
        except TimeoutError:
            self.stop()
            raise UploadError(f"decoding takes more than {self._limits.wall_s:g} s", do="send a shorter file") from None
        except (BrokenPipeError, EOFError) as error:
            raise self._death() from error
        if "error" in reply:
            raise _ERRORS.get(reply["error"], UploadError)(reply["message"])
        images_NTHWC = np.frombuffer(content, np.uint8).reshape(reply["shape"])
        windows = [
            FrameWindow(
                one["frame"],
                one["seconds"],
                tuple(images) * (length if len(images) == 1 else 1),
                one["damaged"],
                one["shot"],
            )
            for images, one in zip(images_NTHWC, reply["frames"], strict=True)
        ]
        return Upload(reply["kind"], windows, reply["notes"])

    def stop(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._close()

    def _close(self) -> None:
        """Waits for the end of the process and closes its pipes."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what it did not read
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "blear.serve.decode_process", json.dumps(asdict(self._limits))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

    def _death(self) -> UploadError:
        """The error of an upload at which the process ended."""
        self._close()
        if self._process.returncode == -signal.SIGXCPU:
            return UploadError(f"decoding takes more than {self._limits.cpu_s} s of CPU time", do="send a shorter file")
        return UploadError("the file cannot be decoded: the decoder ended", do="send a whole file")

    @staticmethod
    def _receive(stream: IO[bytes], size: int, deadline: float) -> bytearray:
        data, received = bytearray(size), 0
        while received < size:
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            count = os.readv(stream.fileno(), [memoryview(data)[received:]])
            if count == 0:
                raise EOFError
            received += count
        return data
