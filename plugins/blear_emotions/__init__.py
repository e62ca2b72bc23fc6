"""What several plugins need of emotion data: the labels of each dataset, and raw layouts that more than one reads."""
