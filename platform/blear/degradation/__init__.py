"""Random draws, mixing and application of degradations on the device."""
