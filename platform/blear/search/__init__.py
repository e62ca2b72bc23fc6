"""Hyperparameter search: Ray Tune over a job, whose trials are runs of the job with other values."""
