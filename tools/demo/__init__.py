"""The demonstration: the product's main job on a real Kubernetes, told with measured numbers. ``python -m tools.demo --help``."""
