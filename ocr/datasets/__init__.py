"""From label files and images to samples and batches."""

from ocr.datasets.base import OCRDataset

__all__ = ["OCRDataset"]
