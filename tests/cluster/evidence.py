"""What a person would look at first when a test on the cluster failed."""

import subprocess

from tests.cluster.kubernetes import Cluster, KubectlError

EVENTS = 40
LOG_LINES = 40
LOOKS: tuple[tuple[str, ...], ...] = (
    ("get", "pods", "-A", "-o", "wide"),
    ("get", "claudeworkloads", "-A", "-o", "wide"),
    ("get", "events", "-A", "--sort-by=.metadata.creationTimestamp"),
    ("-n", "claudeops-system", "logs", "-l", "app.kubernetes.io/part-of=claudeops", "--prefix", f"--tail={LOG_LINES}"),
)


def describe(cluster: Cluster) -> str:
    """Pods, workloads, the newest events and the operator's last words. Never raises: it must not hide the failure."""
    return "\n\n".join(f"$ kubectl {' '.join(words)}\n{_tail(cluster, words)}" for words in LOOKS)


def _tail(cluster: Cluster, words: tuple[str, ...]) -> str:
    try:
        lines = cluster.kubectl(*words, timeout_s=20).splitlines()
    except (KubectlError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "\n".join([*lines[:1], *lines[1:][-EVENTS:]])
