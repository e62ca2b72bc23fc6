"""Degradation recipes of blind restoration: BSRGAN, GFPGAN, Real-ESRGAN, RealBasicVSR."""
