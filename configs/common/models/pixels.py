"""The authors' COCO statistics of BGR images, times 255."""

pixels = {
    "mean": [104.01362025, 114.03422265, 119.9165958],
    "std": [73.6027665, 69.8908125, 70.9150767],
}
