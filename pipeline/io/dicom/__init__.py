"""DICOM: scan, frames, series, pixels, read; and the label objects RTSTRUCT and SEG."""
