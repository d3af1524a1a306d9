"""Minutes on two CPU cores, from scratch."""

from .train import lr_multiplier, optimizer, train

train.update({"base_batch_size": 16, "max_iter": 1200, "eval_period": 300, "ema_decay": 0.998})
optimizer.lr = 0.002
lr_multiplier.update({"name": "WarmupCosineLR", "warmup_iters": 50})
