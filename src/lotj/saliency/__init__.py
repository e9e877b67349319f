"""Where a network looks. `lotj.saliency.gradcam` computes (torch); `lotj.saliency.overlay` paints and counts (NumPy)."""
