"""Training on Ray Train V2: one elastic `TorchTrainer.fit` for each stage."""
