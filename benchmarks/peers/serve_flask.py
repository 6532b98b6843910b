"""A plain Flask service: a pool of the 1,000 most rated items, 20 of them drawn for each request. No part of Shortlist.

python serve_flask.py FOLDER
"""

import csv
import json
import random
import socket
import sys
from collections import Counter
from pathlib import Path

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

POOL, SHOWN = 1000, 20


def main() -> None:
    """Serve until told to stop."""
    with (Path(sys.argv[1]) / "ratings.csv").open(encoding="utf-8") as file:
        counts = Counter(row["item"] for row in csv.DictReader(file))
    pool = [item for item, _ in counts.most_common(POOL)]
    app = Flask(__name__)

    @app.post("/recommend")
    def recommend():  # type: ignore[no-untyped-def]
        asked = request.get_json()
        return jsonify({"user_id": asked["user_id"], "items": random.sample(pool, SHOWN)})

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = make_server("127.0.0.1", port, app, threaded=True)
    said = {"url": f"http://127.0.0.1:{port}", "path": "/recommend", "body": {"user_id": "USER"}}
    print(json.dumps(said), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
