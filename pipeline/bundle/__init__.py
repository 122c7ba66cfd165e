"""MONAI bundles: built from a run folder, opened as data."""
