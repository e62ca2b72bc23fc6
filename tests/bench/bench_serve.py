"""Benchmark: `blear serve` under 200 requests per second for a minute, and with five damaged files in six.

Requests are sent at fixed times, whether earlier ones are answered or not. Server and client share the machine. A
second part sends 2,000 damaged or hostile files. `BLEAR_SERVE_SECONDS` shortens the minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import struct
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import aiohttp
import numpy as np
from measuring import Row
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from serving import Server

RATE = 200
SECONDS = float(os.environ.get("BLEAR_SERVE_SECONDS", 60))
HOSTILE = 2000
QUERY = "/predict?faces=crop"


def face(number: int, kind: str = "PNG") -> bytes:
    """A grey picture of 48 x 48 pixels."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC).save(stream, kind)
    return stream.getvalue()


async def load(address: str, files: list[bytes], valid: list[bool]) -> tuple[list[float], Counter[str], float]:
    """Sends file n at the time n / RATE. Gives the seconds of each valid request, outcomes, and the whole time."""
    seconds, outcomes = [], Counter[str]()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(address, connector=connector) as session:
        start = time.perf_counter()

        async def one(n: int) -> None:
            await asyncio.sleep(max(0.0, start + n / RATE - time.perf_counter()))
            sent, status = time.perf_counter(), "unanswered"
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(QUERY, data=files[n % len(files)]) as response:
                    await response.read()
                status = str(response.status)
            if valid[n % len(files)]:
                seconds.append(time.perf_counter() - sent)
            outcomes[f"{'valid' if valid[n % len(files)] else 'damaged'} {status}"] += 1

        await asyncio.gather(*[one(n) for n in range(int(RATE * SECONDS))])
        return seconds, outcomes, time.perf_counter() - start


def hostile(rng: random.Random, whole: list[bytes]) -> bytes:
    """A damaged, cut, mixed or enormous file."""
    choice, data = rng.randrange(6), bytearray(rng.choice(whole))
    if choice == 0:
        return bytes(data[: rng.randrange(1, len(data))])
    if choice == 1:
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if choice == 2:
        return bytes(data[:20]) + rng.randbytes(rng.randint(1, 3000))
    if choice == 3:
        return rng.randbytes(rng.randint(1, 3000))
    if choice == 4:
        size = struct.pack(">II", rng.randint(1, 2**31 - 1), rng.randint(1, 2**31 - 1))
        chunk = b"IHDR" + size + b"\x08\x02\0\0\0"
        return b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + struct.pack(">I", zlib.crc32(chunk)) + bytes(rng.randint(0, 3000))
    text = rng.choice(
        [b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"<svg/>", b"GIF89a"]
    )
    return text + bytes(data)


async def fuzz(address: str) -> Counter[str]:
    """Outcomes of hostile files, eight at a time."""
    rng, outcomes = random.Random(0), Counter[str]()
    whole = [face(n, kind) for n, kind in enumerate(("PNG", "JPEG", "WEBP", "BMP", "GIF"))]
    files = [hostile(rng, whole) for _ in range(HOSTILE)]
    waiting = asyncio.Semaphore(8)
    async with aiohttp.ClientSession(address) as session:

        async def one(data: bytes) -> None:
            async with waiting, session.post(QUERY, data=data) as response:
                answer = await response.json()
            assert "frames" in answer or "error" in answer
            outcomes[str(response.status)] += 1

        await asyncio.gather(*[one(data) for data in files])
    return outcomes


def memory(pid: int) -> float:
    """MB that a process and its children have resident at most, the sum of their peaks."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        pids += [int(child) for child in (task / "children").read_text().split()]
    peaks = [Path(f"/proc/{one}/status").read_text().split("VmHWM:")[1].split()[0] for one in pids]
    return sum(map(int, peaks)) / 1000


def measure() -> list[Row]:
    """Rows of the table."""
    rows = []
    server = Server()
    try:
        faces = [face(n) for n in range(32)]
        mixed = [faces[n % 32] if n % 6 == 0 else faces[n % 32][: 60 + n % 200] for n in range(192)]
        parts = [
            ("faces of 48 px", faces, [True] * 32),
            ("five damaged in six", mixed, [n % 6 == 0 for n in range(192)]),
        ]
        for name, files, valid in parts:
            seconds, outcomes, whole = asyncio.run(load(server.address, files, valid))
            p50, p95, p99 = np.percentile(np.array(seconds) * 1000, [50, 95, 99])
            count = sum(outcomes.values())
            rows += [
                Row(f"{name}: requests per second ({dict(outcomes)})", count / whole, "1/s"),
                Row(f"{name}: p50 of a valid request", p50, "ms"),
                Row(f"{name}: p95 of a valid request", p95, "ms"),
                Row(f"{name}: p99 of a valid request", p99, "ms"),
            ]
        outcomes = asyncio.run(fuzz(server.address))
        rows.append(Row(f"hostile files with an answer ({dict(outcomes)})", sum(outcomes.values()), ""))
        rows.append(Row("peak memory of all processes", memory(server.pid), "MB"))
    finally:
        server.stop()
    return rows
