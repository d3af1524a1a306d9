"""A web server on this machine, for the length of a block."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager


@contextmanager
def served(handler):
    """Let a request handler answer on a free port; yield the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
