"""Report cards: models of anyone, tested on labelled pictures under a fixed suite of degradations."""
