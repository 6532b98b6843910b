"""The workers of one server talk to each other: HTTP over Unix sockets in a folder that only they can read."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

from shortlist.errors import StoreError

WRITER = 0  # the number of the one process that writes
PASSED_ON = "x-shortlist-passed-on"  # header of a request that came from a sibling: it goes no further
SECONDS = 30.0  # that a sibling has for an answer
OWN = ("connection", "content-length", "date", "transfer-encoding", "keep-alive")  # headers of one hop


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Siblings:
    """The workers as one of them sees them."""

    folder: Path
    number: int  # of this one
    count: int

    @property
    def others(self) -> Iterable[int]:
        return (each for each in range(self.count) if each != self.number)

    def path(self, number: int) -> Path:
        return self.folder / f"worker-{number}.sock"

    def listen(self) -> socket.socket:
        """The socket at which this worker hears the others."""
        self.path(self.number).unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self.path(self.number)))
        listening.listen(256)
        return listening

    def ask(
        self, number: int, method: str, target: str, headers: Mapping[str, str], body: bytes, seconds: float = SECONDS
    ) -> Response:
        """What another worker answers to this request. Raises StoreError when it does not."""
        own = {name: value for name, value in headers.items() if name.lower() not in OWN}
        connection = _OverUnix(self.path(number), seconds)
        try:
            connection.request(method, target, body or None, {**own, "Host": "localhost", PASSED_ON: str(self.number)})
            answer = connection.getresponse()
            said = Response(answer.read(), answer.status)
        except (OSError, http.client.HTTPException) as error:
            raise StoreError(
                f"the {'process that writes' if number == WRITER else f'worker {number}'} does not answer: {error}",
                hint="try again in a moment: it is started again by itself",
            ) from error
        finally:
            connection.close()
        for name, value in answer.getheaders():
            if name.lower() not in OWN:
                said.headers[name] = value
        return said
