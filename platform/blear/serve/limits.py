"""Limits of uploads, and errors of uploads with their HTTP status."""

from __future__ import annotations

from dataclasses import dataclass

from blear.errors import DataError


@dataclass(frozen=True)
class UploadLimits:
    """Limits of one upload.

    Attributes:
        bytes: size of the file.
        pixels: pixels of a picture, width times height.
        frames: frames of a video that are predicted.
        rate: frames of a video that are predicted in one second.
        side: larger side of a video's frames; larger frames are reduced to it.
        cpu_s: CPU seconds of decoding.
        wall_s: seconds of decoding.
        model_s: seconds of one batch of at most 64 faces in a network of others.
        memory: bytes that the decoding process may allocate.
        receive_s: seconds in which a file must be sent.
        waiting: uploads that wait or are decoded at one time.
        held: bytes of all files and decoded frames in the server, from which on uploads are refused.
    """

    bytes: int = 32_000_000
    pixels: int = 24_000_000
    frames: int = 48
    rate: float = 4.0
    side: int = 1280
    cpu_s: int = 15
    wall_s: float = 30.0
    model_s: float = 60.0
    memory: int = 1 << 30
    receive_s: float = 120.0
    waiting: int = 256
    held: int = 1 << 30


class UploadError(DataError):
    """An upload that is refused; `status` is the HTTP status."""

    status = 422


class TooLargeError(UploadError):
    """More than a limit allows."""

    status = 413


class TooSlowError(UploadError):
    """A file that is not sent in time."""

    status = 408


class WrongTypeError(UploadError):
    """Neither a picture nor a video."""

    status = 415


class BusyError(UploadError):
    """Too many uploads at one time."""

    status = 503
