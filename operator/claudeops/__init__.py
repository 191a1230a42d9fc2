"""claudeops: declare how a workload may use Claude; Kubernetes keeps it fast, inside its quota and up."""

__version__ = "0.1.0"
