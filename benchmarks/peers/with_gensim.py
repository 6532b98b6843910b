"""gensim 4.4.0, in an environment of its own. It learns from walks that are written beside the job."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gensim.models import Word2Vec
from worker import SEED, Answer, Job, mean_of_liked, serve, unit


def item2vec(job: Job, params: Mapping[str, Any]) -> Answer:
    """From the file: its faster way. A person is the mean of what they like, as with us."""
    learned = Word2Vec(corpus_file=str(job.folder / "walks.txt"), sg=1, min_count=1, sample=0, seed=SEED, **params)

    def answer() -> np.ndarray:
        item = np.zeros((job.train.shape[1], learned.vector_size), np.float32)
        item[np.array(learned.wv.index_to_key, np.int64)] = learned.wv.vectors
        return mean_of_liked(job, unit(item))

    return answer


if __name__ == "__main__":
    serve({"item2vec": item2vec})
