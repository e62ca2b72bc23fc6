"""A job on a remote cluster: what is uploaded, plugins as wheels, submission and its log."""
