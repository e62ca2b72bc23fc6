"""Library of the plugins with emotion data: label sets of all datasets, and raw layouts read by several plugins."""
