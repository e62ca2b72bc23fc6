"""Trained models with everything that their use needs: labels, preprocessing, framing and card."""
