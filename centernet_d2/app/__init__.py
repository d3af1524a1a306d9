"""A page in the browser to try detectors on pictures: `centernet-d2 app`, docs/app.md."""
