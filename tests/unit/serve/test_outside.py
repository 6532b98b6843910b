"""The guard that keeps the whole suite on this machine works: row S16."""

from __future__ import annotations

import socket
import urllib.request

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("93.184.216.34", 443), ("10.0.0.1", 22)])
def test_other_machines_are_out_of_reach(address: tuple[str, int]) -> None:
    with socket.socket() as line, pytest.raises(AssertionError, match="was tried"):
        line.connect(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line, pytest.raises(AssertionError, match="was tried"):
        line.connect(address)


def test_names_are_not_looked_up() -> None:
    with pytest.raises(AssertionError, match=r"'example\.invalid' was looked up"):
        urllib.request.urlopen("http://example.invalid/")
    with pytest.raises(AssertionError):
        socket.create_connection(("example.invalid", 80))


def test_this_machine_is_in_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        for host in ("127.0.0.1", "localhost"):
            with socket.create_connection((host, door.getsockname()[1])):
                pass
