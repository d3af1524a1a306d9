"""Training, evaluation and prediction as programs run them."""
