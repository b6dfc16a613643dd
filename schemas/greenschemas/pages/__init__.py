"""The pages that both sides write: their base, their style, their charts."""
