"""Scenes in, maps out."""
