"""Prediction of many inputs on a Ray cluster, with Ray Data."""
