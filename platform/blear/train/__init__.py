"""The training loop (one stage, one worker) and the runners around it."""
