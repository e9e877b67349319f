"""Episodes on disk: recording them crash-safe, reading them memory-mapped, looking at them, and replaying them."""
