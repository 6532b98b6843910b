"""What papers report on the splits that we report on: figures that we read, none that we measured."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.rows import Row

_SASREC_STUDY = "Klenitskiy and Vasilev, RecSys 2023"
_ESASREC = "eSASRec, RecSys 2025"
_BARS = "BARS leaderboard"

PUBLISHED: Mapping[tuple[str, str], Mapping[tuple[str, str], Mapping[str, float]]] = {
    ("gowalla", "published"): {
        ("bspm", "Choi et al., SIGIR 2023"): {"recall@20": 0.1920, "ndcg@20": 0.1597},
        ("nescl", "Sun et al., TKDE 2024"): {"recall@20": 0.1917, "ndcg@20": 0.1617},
        ("gfcf", _BARS): {"recall@20": 0.1849, "ndcg@20": 0.1518},
        ("ultragcn", _BARS): {"recall@20": 0.1862, "ndcg@20": 0.1580},
        ("lightgcn", "He et al., SIGIR 2020"): {"recall@20": 0.1830, "ndcg@20": 0.1554},
        ("ease", _BARS): {"recall@20": 0.1765, "ndcg@20": 0.1467},
        ("item2vec", _BARS): {"recall@20": 0.1326, "ndcg@20": 0.1057},
    },
    ("movielens-1m", "leave-last"): {
        # events of the same second in another order, which is another question for a quarter of the people
        ("hstu-large", "Zhai et al., ICML 2024"): {
            "recall@10": 0.3294,
            "ndcg@10": 0.1893,
        },
        ("sasrec", _SASREC_STUDY): {"recall@10": 0.3159, "ndcg@10": 0.1857},
        ("sasrec", "RecTools"): {"recall@10": 0.3058, "ndcg@10": 0.1779},
        ("gsasrec", "Petrov and Macdonald, RecSys 2023"): {"recall@10": 0.3003, "ndcg@10": 0.1726},
        ("bert4rec", "Petrov and Macdonald, RecSys 2022"): {"recall@10": 0.2821, "ndcg@10": 0.1516},
    },
    ("beauty", "leave-last"): {
        ("sasrec", _ESASREC): {"recall@10": 0.0921, "ndcg@10": 0.0531},
        ("esasrec", _ESASREC): {"recall@10": 0.0928, "ndcg@10": 0.0523},
    },
}
"""By set and split, then by model and source: measures on the whole test part, all items ranked."""


def rows(set_name: str, split: str) -> list[Row]:
    """What is published for a split, to stand beside what was measured."""
    return [
        Row(model, f"published:{source}", set_name, split, metric, value)
        for (model, source), found in PUBLISHED.get((set_name, split), {}).items()
        for metric, value in found.items()
    ]
