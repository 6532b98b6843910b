import os
from pathlib import Path

import pytest


@pytest.fixture
def movielens_100k() -> Path:
    folder = Path(os.environ.get("SHORTLIST_DATA") or Path(__file__).parents[3] / "../shared/data") / "movielens-100k"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; name the folder of data sets in SHORTLIST_DATA")
    return folder
