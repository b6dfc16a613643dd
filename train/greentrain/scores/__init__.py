"""Scores from sums that merge. Pure."""
