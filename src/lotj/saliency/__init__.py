"""Where a network looks. `gradcam` computes heat maps (torch); `overlay` paints and measures them (NumPy)."""
