"""The same product without Kubernetes: manifests from files, proxies as processes of this machine, one exchange between them."""
