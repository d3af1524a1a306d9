"""Downloading weights: whole files or none, going on where a lost connection stopped."""

import contextlib
import errno
import hashlib
import http.client
import logging
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from ..progress import SHOWN, bar
from .files import WeightFileError, file_kind, sha256_of

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

TRIES = 4  # connections in one call; a later call goes on from the .part file
PAUSE_SECONDS = 1.0  # before the second try, then twice as long each time
TIMEOUT_SECONDS = 30.0  # without a byte
BLOCK = 1 << 20
GONE_ON = 206  # HTTP status: the rest of the file follows
SERVER_FAULTS = 500  # HTTP status from which on the fault is the server's
BYTES = {"unit_scale": True, "unit_divisor": 1024}  # of a bar
ALREADY_WHOLE = 416  # HTTP status: nothing is left after what is there


class DownloadError(OSError):
    """A file could not be downloaded. What has arrived stays in a `.part` file for the next try."""


def is_url(text: str) -> bool:
    """Whether `text` is an address that `download` takes."""
    return text.startswith(("http://", "https://"))


def download(
    url: str,
    folder: Path,
    *,
    name: str = "",
    sha256: str | None = None,
    by_hand: str = "published:<file>",
) -> Path:
    """Fetch `url` into `folder` unless it is there, and return the file.

    The file gets its name only when it is whole. Until then it is `<name>.part`, from which a
    retry, or a later call, goes on (an HTTP range; from the start where the server has no ranges).

    Args:
        url: http or https.
        folder: made where it is missing.
        name: of the file; by default that of the address, with a digest of the whole of it.
        sha256: expected checksum, whole or its first digits; None does not check.
        by_hand: what MODEL.WEIGHTS is where the file was fetched by other means, for the message.

    Raises:
        DownloadError: the server refuses, or the connection failed `TRIES` times.
        WeightFileError: the server sent a web page, or the checksum differs. Nothing is kept.
    """
    file = folder / (name or local_name(url))
    if file.is_file():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with _locked(part):  # several processes of one job ask for the same file
        if not file.is_file():
            _fetch_whole(url, part, by_hand)
            _check(part, url, sha256)
            os.replace(part, file)
    return file


def _fetch_whole(url: str, part: Path, by_hand: str) -> None:
    for attempt in range(TRIES):
        try:
            if _fetch(url, part):
                return
            problem: Exception | str = "the connection was cut"
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.reason}"
            if error.code < SERVER_FAULTS:  # it has answered; asking again is no use
                break
        except (OSError, http.client.HTTPException) as error:
            problem = error
            if not part.stat().st_size and _no_network(error):
                break
        if attempt < TRIES - 1:
            logger.warning("%s: %s; trying again.", url, problem)
            time.sleep(PAUSE_SECONDS * 2**attempt)
    size = part.stat().st_size if part.exists() else 0
    kept = f" {size:,} bytes are kept in {part}, from which the next try goes on." if size else ""
    raise DownloadError(
        f"Could not download {url}: {problem}.{kept} Try again, or fetch the file by other means "
        f'and name it in MODEL.WEIGHTS {by_hand}; MODEL.WEIGHTS "" starts from scratch.'
    )


def _no_network(error: Exception) -> bool:
    cause = getattr(error, "reason", error)  # of a URLError
    unreachable = getattr(cause, "errno", 0) in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return unreachable or isinstance(cause, socket.gaierror)  # the host's name is not known


def unreachable(url: str) -> str:
    """Why a server cannot be reached, found within seconds; "" where it answers, whatever it says.

    The Hub's library tries for half a minute.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except (OSError, http.client.HTTPException) as error:
        is_answer = isinstance(error, urllib.error.HTTPError)
        return "" if is_answer else str(getattr(error, "reason", error))
    return ""


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Hold `part` for this process; an empty one does not stay behind."""
    with open(part, "ab") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()


def local_name(url: str) -> str:
    """File name for a download: the address's own, before it a digest of the whole address."""
    address = urlparse(url)
    own = unquote(PurePosixPath(address.path).name) or "weights"
    own = re.sub(r"[^\w.+-]", "_", own)[-100:]
    return f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{own}"


def _fetch(url: str, part: Path) -> bool:
    """One connection: append to `part` what it lacks. Returns whether it is whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "centernet_d2"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if have and error.code == ALREADY_WHOLE:
            total = re.search(r"/(\d+)$", error.headers.get("Content-Range", ""))
            if total and int(total[1]) == have:
                return True
            part.write_bytes(b"")  # of another file: from the start
            return False
        raise
    with response:
        content_range = response.headers.get("Content-Range", "")
        goes_on = response.status == GONE_ON and content_range.startswith(f"bytes {have}-")
        start = have if goes_on else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        going_on = f" from byte {start:,} on" if start else ""
        logger.info("Downloading %s%s", url, going_on, extra=SHOWN)
        shown = bar(total=total, initial=start, what=part.stem, unit="B", **BYTES)
        # "wb" keeps the lock: same file.
        with open(part, "ab" if goes_on else "wb") as stream, shown:
            while block := response.read(BLOCK):
                shown.update(stream.write(block))
    size = part.stat().st_size
    if whole := total in (None, size):
        logger.info("Downloaded %s bytes.", f"{size:,}", extra=SHOWN)
    return whole


def _check(part: Path, url: str, sha256: str | None) -> None:
    if file_kind(part) in ("html", "empty"):
        part.unlink()
        raise WeightFileError(
            f"'{url}' gave a web page or nothing instead of weights (a quota, a sign-in or a "
            "confirmation). Open it in a browser, save the file, and name that file in "
            "MODEL.WEIGHTS published:<file>."
        )
    if sha256 and not (found := sha256_of(part)).startswith(sha256.lower()):
        part.unlink()
        raise WeightFileError(
            f"'{url}' has SHA-256 {found}, expected {sha256}: it was damaged on the way or "
            "replaced. Nothing is kept; download it again, or from elsewhere."
        )
