"""A real one-node Kubernetes, boxed in namespaces of this machine, for the demo and the tests. No part of the product.

Runs on the standard library alone, so that it works before anything is installed: `python -m tools.localcluster up`.
"""
