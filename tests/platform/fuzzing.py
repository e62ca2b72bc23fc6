"""A seeded mutation fuzzer in a child process with limits; shared by the fuzz tests.

A test module gives `inputs(rng, folder) -> Iterator[(bytes, call)]`; the child runs them and records whatever is
neither accepted nor refused with a `BlearError`.
"""

import base64
import collections
import contextlib
import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

MEMORY = 1 << 29
INPUT_S = 20
_INTERESTING = (b"\0", b"\xff", b"/", b"..", b"-1", b"0", b"9" * 20, b"\x7f", b"\x80", b"NaN", b"{", b"[", b'"')


def mutated(rng: random.Random, data: bytes, tokens: tuple[bytes, ...] = _INTERESTING) -> bytes:
    """`data` after one to four small changes: bits, bytes, tokens; in half of all cases also cuts and copies."""
    changed = bytearray(data)
    kinds = rng.choice((3, 7))  # the first three keep everything in its place
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        length = min(len(changed) - at, rng.choice((1, 2, 4, 8, 64, 512)))
        match rng.randrange(kinds):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2:
                token = rng.choice(tokens)
                changed[at : at + (len(token) if kinds == 3 else 0)] = token
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case 5:
                other = rng.randrange(len(changed) + 1)
                changed[other:other] = changed[at : at + length]
            case 6 if rng.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def fuzz(module: str, seed: int, count: int, timeout: float = 240) -> dict:
    """Runs `count` inputs of a test module in a child: {"ran", "accepted", "refused": cause -> count, "failures"}."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, module, str(seed), str(count), folder]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "BLEAR_CACHE": str(Path(folder) / "cache")}
        with (Path(folder) / "log").open("w") as log:
            try:
                code = subprocess.run(command, stdout=log, stderr=log, timeout=timeout, env=environment, check=False)
            except subprocess.TimeoutExpired:
                code = None
        result = Path(folder) / "result.json"
        if result.is_file():
            return json.loads(result.read_text())
        last = Path(folder) / "input"
        culprit = base64.b64encode(last.read_bytes()).decode() if last.is_file() else "none"
        end = (Path(folder) / "log").read_text(errors="replace")[-2000:]
        return {"ran": 0, "accepted": 0, "refused": {}, "failures": [f"{code}: {end}\nlast input: {culprit}"]}


class _HangError(BaseException):
    pass


def _child(module: str, seed: int, count: int, folder: Path) -> None:
    def stop(*_):
        raise _HangError(f"over {INPUT_S} s")

    from blear.errors import BlearError

    sys.path.append(str(Path(module).parent))  # helper modules beside the test
    spec = importlib.util.spec_from_file_location("fuzzed", module)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    inputs = tests.inputs(random.Random(seed), folder)
    signal.signal(signal.SIGALRM, stop)
    result = {"ran": 0, "accepted": 0, "refused": collections.Counter(), "failures": []}
    with (folder / "input").open("wb") as note:
        for number in range(count):
            data, call = next(inputs)
            if number == 0:  # what the first input imports is no memory of the inputs
                with contextlib.suppress(BlearError):
                    call()
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
            note.seek(0)
            note.truncate()
            note.write(data)
            note.flush()
            signal.setitimer(signal.ITIMER_REAL, INPUT_S)
            try:
                call()
                result["accepted"] += 1
            except BlearError as error:
                result["refused"][error.what.split("\n")[0][:40]] += 1
                if not error.what:
                    result["failures"].append(f"an error without words; input {data[:3000]!r}")
            except (Exception, _HangError):  # noqa: BLE001 - every exception is a finding
                text = "".join(traceback.format_exc()[-1500:])
                result["failures"].append(f"{text}\ninput {base64.b64encode(data[:20000]).decode()}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            result["ran"] += 1
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
