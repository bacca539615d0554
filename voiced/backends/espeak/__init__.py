"""espeak-ng: the embedded engine, and the phonemes of others. It runs in a process of its own."""
