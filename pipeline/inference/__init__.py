"""From a volume to its mask, without MONAI."""
