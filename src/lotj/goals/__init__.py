"""Goals that a robot sets itself: codes of pictures, who proposes goals, and what reaching them is worth."""
