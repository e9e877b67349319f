"""How well does a controller insert: trials from paired start poses, counted honestly, with intervals."""
