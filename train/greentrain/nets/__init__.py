"""The nets, their presets, weights and scans."""
