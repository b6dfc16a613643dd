"""Pixels to a verdict: statistics, findings, judgement. Pure but for `survey`, which reads an open pair."""
