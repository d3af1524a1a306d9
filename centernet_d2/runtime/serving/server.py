"""A process that serves a detector until it is asked to stop."""

import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import uvicorn

from . import Options
from .app import Service, make_app


def run(load: Callable[[], Any], options: Options) -> None:
    """See `serve` of the room."""
    listener = listening(options)  # before the detector, which takes its time
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    finder = load()
    frame, least = finder.metadata["frame"], max(64, finder.metadata["least_side"])
    blank = np.zeros((frame["height"] or least, frame["width"] or least, 3), np.uint8)
    finder.batch([blank])  # the first picture is the slow one
    service = Service(finder, options)
    # What was accepted ends by its own timeout, before uvicorn would cut it off.
    rule: dict[str, Any] = {"timeout_graceful_shutdown": round(options.timeout) + 5}
    rule |= {"log_config": None, "log_level": "warning", "access_log": False}
    rule |= {"http": "h11", "ws": "none", "server_header": False}
    server = uvicorn.Server(uvicorn.Config(make_app(service), **rule))
    service.stopping = lambda: server.should_exit
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises it anew at its end
        signal.signal(number, lambda *_: None)
    listener.listen()  # who comes from now on waits, if for a moment
    address = "http://{}:{}".format(*listener.getsockname()[:2])
    logging.getLogger(__name__).info("%s takes pictures; SIGTERM stops it", address)
    server.run(sockets=[listener])


def listening(options: Options) -> socket.socket:
    """Return a socket of the address; OSError with the cure where it cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With its protocol, without which asyncio leaves answers waiting for acknowledgements, 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except (OSError, OverflowError) as error:
        listener.close()
        told = f"cannot listen on {options.host} port {options.port} ({error})"
        raise OSError(f"{told}: give another --port or --host") from None
    return listener
