"""RetinaFace with a MobileNet of width 0.25, see `locator`; the origin of the weights is in NOTICE."""
