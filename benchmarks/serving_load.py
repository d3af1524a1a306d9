"""Requests per second of `centernet-d2 serve`, and that none is lost: on this machine alone.

    centernet-d2 export --weights bccd --format onnx --output bccd.onnx --images bccd/JPEGImages
    python -m benchmarks.serving_load --model bccd.onnx --images bccd/JPEGImages

A server of its own is started for each row, on a free port of the loopback address; no other
address is asked. Clients ask one after the other, each for the next picture. Every answer must
be 200 with what the file finds in that picture when it is asked directly, or 429; the last row,
whose queue is shorter than there are clients, has many of those. Else the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from tabulate import tabulate

from centernet_d2.runtime import Detector
from centernet_d2.runtime.serving.pictures import decoded, opened

MOST = {"requests": 20_000, "seconds": 120.0, "clients": 256}
"""What may be asked of this script."""
SCORE, PIXELS = 2e-4, 2e-3  # rounding to four digits, and the last digits of other batches


@dataclass
class Load:
    """Answers of a server; `wrong` are those of 200 that are not of their picture."""

    seconds: list[float] = field(default_factory=list)  # of those answered by 200
    statuses: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    wrong: int = 0
    took: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether each request has got its answer, or was refused."""
        known = self.statuses["200"] + self.statuses["429"]
        return self.wrong == 0 and known == self.sent > 0

    def row(self) -> dict[str, Any]:
        """What a table shows."""
        p50, p99 = (1e3 * np.quantile(self.seconds or [math.nan], q) for q in (0.5, 0.99))
        done = self.statuses["200"]
        rest = self.sent - done - self.statuses["429"]
        return {
            **{"requests/s": f"{done / self.took:.1f}", "p50 ms": f"{p50:.0f}"},
            **{"p99 ms": f"{p99:.0f}", "sent": self.sent, "200": done},
            **{"429": self.statuses["429"], "wrong": self.wrong, "lost": rest},
        }


def check_loopback(url: str) -> str:
    """Return an address of this machine; ValueError of any other one."""
    host = urlsplit(url).hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise ValueError(f"{url!r} is not of this machine: only 127.0.0.1 and the like are asked")
    return url


def same(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> bool:
    """Whether two lists of detections are one, but for the last digits and the order of ties."""
    if len(found) != len(expected):
        return False
    rest = list(expected)
    for one in found:
        near = [
            other
            for other in rest
            if one["class_name"] == other["class_name"]
            and abs(one["score"] - other["score"]) <= SCORE
            and np.abs(np.subtract(one["box"], other["box"])).max() <= PIXELS
        ]
        if not near:
            return False
        rest.remove(near[0])
    return True


async def load(
    url: str,
    pictures: Sequence[tuple[bytes, list[dict[str, Any]]]],
    *,
    clients: int,
    requests: int,
    seconds: float,
) -> Load:
    """Ask a server, at most so often and so long.

    `pictures` are the bytes of files, and what is in them.
    """
    report, began = Load(), time.perf_counter()
    numbers = iter(range(requests))

    async def ask(client: httpx.AsyncClient) -> None:
        for number in numbers:  # shared by all clients
            if time.perf_counter() - began > seconds:
                return
            content, expected = pictures[number % len(pictures)]
            report.sent += 1
            start = time.perf_counter()
            try:
                answer = await client.post("/detect", content=content)
            except httpx.HTTPError as error:
                report.statuses[type(error).__name__] += 1
                continue
            report.statuses[str(answer.status_code)] += 1
            if answer.status_code == 200:
                report.seconds.append(time.perf_counter() - start)
                report.wrong += not same(answer.json()["pictures"][0]["detections"], expected)
            else:
                await asyncio.sleep(0.25)  # sooner than it is told to

    limits = httpx.Limits(max_connections=clients)
    settings = {"base_url": check_loopback(url), "timeout": 60, "trust_env": False}
    async with httpx.AsyncClient(limits=limits, **settings) as client:
        await asyncio.gather(*(ask(client) for _ in range(clients)))
    report.took = time.perf_counter() - began
    return report


@contextmanager
def serving(model: Path, *options: str) -> Iterator[str]:
    """Serve a file; yield the address. RuntimeError if the server does not end well."""
    command = [sys.executable, "-m", "centernet_d2.runtime.serving", str(model), "--port", "0"]
    log = Path(f"{model}.serving.log")
    with log.open("w") as file:
        process = subprocess.Popen([*command, *options], stderr=file)
    try:
        until = time.monotonic() + 60
        while "takes pictures" not in (told := log.read_text()):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server does not start: {told.strip()}")
            time.sleep(0.1)
        yield next(word for word in told.split() if word.startswith("http://"))
        process.send_signal(signal.SIGTERM)
        if status := process.wait(60):
            raise RuntimeError(f"the server ends with status {status}, see {log}")
    finally:
        process.kill()
        process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="of `centernet-d2 export`")
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG files")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--requests", type=int, default=400, help="of a row, at most")
    parser.add_argument("--seconds", type=float, default=30, help="of a row, at most")
    parser.add_argument("--threads", type=int, default=1, help="of the detector")
    parser.add_argument("--short-queue", type=int, default=8, help="of the last row")
    args = parser.parse_args(arguments)
    for name, most in MOST.items():
        if not 0 < np.max(getattr(args, name)) <= most:
            parser.error(f"--{name} is more than 0 and at most {most}")
    detector, pictures = Detector(args.model, threads=args.threads), []
    for file in sorted(args.images.glob("*.jp*g"))[:50]:
        content = file.read_bytes()
        found = detector(decoded(opened(content, 10**8, file.name), file.name))
        pictures.append((content, found.above(0.3).rows()))
    if not pictures:
        parser.error(f"no JPEG files are in {args.images}")
    rows, right = [], True
    queue = max(64, *args.clients)
    plan = [(size, clients, queue) for clients in args.clients for size in args.batch_sizes]
    plan.append((max(args.batch_sizes), max(args.clients), args.short_queue))
    for size, clients, places in plan:
        options = {"--batch-size": size, "--queue": places, "--threads": args.threads}
        options["--max-pictures"] = 1
        words = [str(word) for pair in options.items() for word in pair]
        bounds = {"requests": args.requests, "seconds": args.seconds}
        with serving(args.model, *words) as url:
            report = asyncio.run(load(url, pictures, clients=clients, **bounds))
        right &= report.is_right
        rows.append({"clients": clients, "batch": size, "queue": places, **report.row()})
        print(rows[-1], dict(report.statuses), file=sys.stderr, flush=True)
    print(tabulate(rows, "keys", "pipe"))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
