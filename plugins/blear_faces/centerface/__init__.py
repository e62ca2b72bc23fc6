"""CenterFace, see `locator`; the origin of the network is in NOTICE."""
