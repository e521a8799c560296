"""Training data: sources of clean pictures, degradations, pairs of noisy raw and clean target."""
