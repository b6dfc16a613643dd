"""Tests of both sides at once are left out where torch is not installed, as on the newest Python; pytest says so."""

import importlib.util

WITHOUT_TORCH = importlib.util.find_spec("torch") is None
collect_ignore = (
    ["test_dates.py", "test_documents_run.py", "test_other_inputs.py", "test_pages_run.py", "test_scenes_both.py"]
    if WITHOUT_TORCH
    else []
)


def pytest_report_header() -> str:
    return f"left out, for want of torch: {', '.join(collect_ignore)}" if collect_ignore else ""
