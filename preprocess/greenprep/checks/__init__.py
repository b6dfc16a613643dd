"""Pixels to a verdict: evidence, findings, judgement. Pure."""
