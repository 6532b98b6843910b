"""Where a listing goes on: a place in it that only this installation can write."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Any

from shortlist.serve.problems import Refusal

SIGNATURE = 16  # bytes of HMAC-SHA-256


class Cursors:
    """Places as opaque text, signed with `key`. `listing` says what is listed: a cursor is good for nothing else."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, listing: str, place: Any) -> str:
        """`place` is anything that JSON holds."""
        said = json.dumps(place, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(listing, said) + said).decode().rstrip("=")

    def read(self, listing: str, cursor: str) -> Any:
        """The place that was written, or a Refusal."""
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        said = data[SIGNATURE:]
        if not hmac.compare_digest(data[:SIGNATURE], self._sign(listing, said)):
            raise Refusal(
                "invalid_argument",
                "this cursor was not given out for this listing",
                hint="send next_cursor as it came, with the same parameters but page_size; or begin without a cursor",
                pointer="/cursor",
            )
        return json.loads(said)

    def _sign(self, listing: str, said: bytes) -> bytes:
        return hmac.digest(self._key, f"{listing}\0".encode() + said, "sha256")[:SIGNATURE]
