"""The original U-Net and its overlap-tile. Needs torch alone."""
