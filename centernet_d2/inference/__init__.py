"""A trained detector on images and folders: `Predictor`, files, records, cameras."""
