"""Pictures of detections, heatmaps and training curves, written without a screen."""
