"""The conformance suite: what every component must do, as checks with one message each."""
