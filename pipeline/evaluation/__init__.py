"""Counts first, ratios once, absence is not zero."""
