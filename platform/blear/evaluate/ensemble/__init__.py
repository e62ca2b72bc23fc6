"""Ensembles: the fused predictions of several runs."""
