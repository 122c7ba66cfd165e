"""What leaves the house: masks, overlays, sidecars."""
