"""The compiled form of the proxy's hot modules: built by mypyc from a copy, never in the source tree."""
