"""Noise and too little light."""
