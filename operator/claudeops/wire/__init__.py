"""HTTP/1.1 on uvloop and httptools, both sides. Knows nothing of Claude."""
