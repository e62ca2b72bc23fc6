"""The heads: classifiers of a clip by one linear layer or by recurrent cells."""
