"""DeepMind's control suite with contexts: signed target speeds, bodies of other lengths and masses,
reversed motors. Needs the extra `control`."""
