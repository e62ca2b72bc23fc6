"""Prediction on videos: face detection, tracking, recognition, and the timeline file."""
