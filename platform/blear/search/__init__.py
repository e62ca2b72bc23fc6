"""Ray Tune over a job: a space, trials that are runs of the job, the best of them against baselines."""
