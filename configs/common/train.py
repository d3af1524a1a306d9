"""How a run is trained: what every LazyConfig starts from.

A run's length, steps and periods come in epochs, from which iterations are computed for the batch
and the dataset, or in iterations where the epochs are 0. An override in iterations on the command
line empties the epochs. `optimizer.lr` is that of `base_batch_size` images; 0: of any number.
"""

from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.engine.optimizer import build_optimizer

train = {
    "output_dir": "./output",
    "init_checkpoint": "",
    "device": "cuda",  # "cpu" is used where there is no GPU
    "seed": -1,  # one is drawn, and kept in the checkpoints
    "epochs": 0,
    "max_iter": 40000,
    "base_batch_size": 0,
    "amp": {"enabled": False, "dtype": "float16"},
    "ema_decay": 0.0,
    "checkpointer": {"epochs": 0, "period": 5000},
    "eval_epochs": 0,
    "eval_period": 0,
    "best_metric": "",
    "vis_period": 0,
    "log_period": 20,
}

# Settings of detectron2's schedulers, or a call of fvcore's, as in detectron2's lazy configs.
lr_multiplier = {
    "name": "WarmupMultiStepLR",
    "epoch_steps": [],
    "steps": [],
    "gamma": 0.1,
    "warmup_iters": 0,
}

optimizer = L(build_optimizer)(name="Adam", lr=5e-4)
