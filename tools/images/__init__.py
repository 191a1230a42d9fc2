"""The container images, as OCI archives, built from the wheel and its locked dependencies without a container engine."""
