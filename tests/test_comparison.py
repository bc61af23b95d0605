"""The page that compares with peers is that of the results at hand."""

import importlib.util
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]

spec = importlib.util.spec_from_file_location("skvae_comparison", ROOT / "docs" / "comparison.py")
comparison = importlib.util.module_from_spec(spec)
spec.loader.exec_module(comparison)


def test_the_page_is_up_to_date():
    written = comparison.PAGE.read_text(encoding="utf-8")
    assert written == comparison.page(), "run python docs/comparison.py"


def test_ranks_are_over_cases_that_all_have():
    frame = pd.DataFrame(
        [("a", "x", 0.9), ("a", "y", 0.8), ("b", "x", 0.5), ("b", "y", 0.6), ("c", "x", 0.1)],
        columns=["table", "method", "auroc"],
    )
    found = comparison.ranks(frame, ["table"], "auroc", ascending=False)
    assert found.to_dict() == {"x": 1.5, "y": 1.5}


def test_the_best_is_bold():
    frame = pd.DataFrame({"error": [0.2, 0.1], "share": [0.5, 0.4]}, index=["x", "y"])
    lines = comparison.list_table(frame, {"error": -1, "share": 1})
    assert lines[-3:] == ["   * - y", "     - **0.1**", "     - 0.4"]
    assert "     - **0.5**" in lines
