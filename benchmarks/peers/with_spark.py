"""Spark ML 4.3.0 in local mode, in an environment of its own; needs Java 17. Its Word2Vec is skip-gram with a
hierarchical softmax. Starting Spark and reading the walks is not timed.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ["PYSPARK_PYTHON"] = sys.executable

import numpy as np
from pyspark.ml.feature import Word2Vec
from pyspark.sql import SparkSession, functions
from worker import SEED, Answer, Job, loop, mean_of_liked, unit

CORES = len(os.sched_getaffinity(0))


class Started:
    """A job, and its walks in the memory of Spark."""

    def __init__(self, folder: Path) -> None:
        self.job = Job.read(folder)
        options = {
            "spark.driver.memory": "4g",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        builder = SparkSession.builder.master(f"local[{CORES}]")
        for name, value in options.items():
            builder = builder.config(name, value)
        lines = builder.getOrCreate().read.text(str(folder / "walks.txt"))
        self.walks = lines.select(functions.split("value", " ").alias("walk")).repartition(CORES).cache()
        self.walks.count()


def item2vec(started: Started, params: Mapping[str, Any]) -> Answer:
    recipe = Word2Vec(inputCol="walk", minCount=1, seed=SEED, numPartitions=CORES, **params)
    learned = recipe.fit(started.walks)

    def answer() -> np.ndarray:
        job, rows = started.job, learned.getVectors().collect()
        item = np.zeros((job.train.shape[1], learned.getVectorSize()), np.float32)
        for row in rows:
            item[int(row["word"])] = row["vector"].toArray()
        return mean_of_liked(job, unit(item))

    return answer


if __name__ == "__main__":
    loop({"item2vec": item2vec}[sys.argv[1]], lambda: Started(Path(sys.argv[2])))
