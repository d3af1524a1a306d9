"""Ground truth that moves with its image, a field a module: boxes, joints, boxes in space."""
