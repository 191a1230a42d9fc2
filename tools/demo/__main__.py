"""`make demo`: sets everything up, tells the story, takes everything down again."""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from tools.demo.access import ROOT, Access, DemoError, wait_until
from tools.demo.cluster_start import ClusterStart
from tools.demo.observe import Observer
from tools.demo.opening import Opening
from tools.demo.screen import Screen
from tools.demo.story import EXAMPLE, Story

PLATFORM = "tools/demo/platform"
NAMESPACES = ("shop", "claude-simulator", "claudeops-system")
KEPT = "claudeops.dev/demo=kept"
"""Label of the namespaces of a demonstration that was left up on a cluster of somebody's own: the next one may take them over."""
SHORTENED = (
    "time constants are shortened for this demonstration: scale-down window 15 s, scale step 5 s, replica smoothing 5 s, "
    "fleet hold 5 s, clean window 3 s, status figures every 2 s (defaults: 5 min, 30–60 s, 14 s, 60 s, 30 s, 60 s)"
)


def main() -> int:
    """Exit codes: 0 every step happened; 1 one did not, or something is missing; 130 interrupted."""
    arguments = _parse()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began_s = time.monotonic()
    screen = Screen(is_live=False if arguments.plain else None)
    cluster = None if arguments.context else ClusterStart()
    opening = Opening(screen)
    access: Access | None = None
    story: Story | None = None
    is_interrupted = False
    problem = ""
    try:
        opening.tell()
        access = _context_access(arguments.context) if cluster is None else cluster.finish(screen)
        story = _run(access, screen)
    except (DemoError, RuntimeError, OSError) as error:
        problem = str(error)
        screen.bad(problem)
    except KeyboardInterrupt:
        screen.note("interrupted: taking everything down")
        arguments.keep, is_interrupted, problem = False, True, "interrupted"
    finally:
        _end(access, screen, is_kept=arguments.keep, context=arguments.context, begun=(opening, cluster))
    seconds = round(time.monotonic() - began_s, 1)
    steps = [*opening.results, *(story.results if story else [])]
    failed = [result["step"] for result in steps if not result["happened"]]
    if arguments.report:
        has_happened = story is not None and not problem and not failed
        report = {"seconds": seconds, "happened": has_happened, "steps": steps, **({"problem": problem} if problem else {})}
        pathlib.Path(arguments.report).write_text(json.dumps(report, indent=2) + "\n")
    if story is None:
        return 130 if is_interrupted else 1
    print(f"\nthe whole story in {seconds:.0f} s" if not failed else f"\nnot everything happened: {'; '.join(failed)}")
    return int(bool(failed))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description="The main job of claudeops on a real Kubernetes, with measured numbers."
    )
    parser.add_argument("--context", help="use this context of your kubeconfig instead of a local cluster (its nodes must have the images)")
    parser.add_argument("--keep", action="store_true", help="leave everything up at the end, and say what to try next")
    parser.add_argument("--report", metavar="FILE", help="write steps and figures as JSON")
    parser.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
    return parser.parse_args()


def _context_access(context: str) -> Access:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise DemoError("kubectl is not installed: it is needed to reach a cluster of your own")
    access = Access(kubectl, ["--context", context])
    access.kubectl("get", "nodes")
    kept = access.kubectl("get", "namespaces", "-l", KEPT, "-o", "name").split()
    found = access.kubectl("get", "namespaces", *NAMESPACES, "-o", "name", "--ignore-not-found").split()
    if taken := [name.partition("/")[2] for name in found if name not in kept]:
        raise DemoError(f"{context} has {' and '.join(taken)} already, which the demonstration would remove: use another cluster")
    return access


def _run(access: Access, screen: Screen) -> Story:
    screen.step("The platform team installs claudeops; a simulator stands in for the Claude API")
    screen.note(SHORTENED)
    access.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds")
    wait_until("the resource types", lambda: access.kubectl("get", "--raw", "/apis/claudeops.dev/v1alpha1", is_checked=False), timeout_s=30)
    access.install("-k", PLATFORM, namespaces=["claudeops-system", "claude-simulator"])
    for namespace, name in (
        ("claude-simulator", "simulator"),
        ("claudeops-system", "claudeops-controller"),
        ("claudeops-system", "claudeops-injector"),
    ):
        access.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s")
    screen.good("controller, injector and simulator run")
    observer = Observer(access, screen)
    story = Story(access, screen, observer)
    try:
        story.tell()
    finally:
        observer.stop()
        screen.close()
    return story


def _end(access: Access | None, screen: Screen, *, is_kept: bool, context: str | None, begun: tuple[Opening, ClusterStart | None]) -> None:
    """Leaves nothing behind, or says what to try next. A second Ctrl-C during this does not stop it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    opening, cluster = begun
    try:
        opening.close()
        if cluster is not None:
            cluster.stop()
        if access is not None:
            access.close()
        if is_kept and access is not None:
            if context is not None:
                access.kubectl("label", "namespaces", *NAMESPACES, KEPT, "--overwrite", is_checked=False)
            _say_next(screen, access, is_local=context is None)
        elif context is None:
            subprocess.run([sys.executable, "-m", "tools.localcluster", "down"], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        elif access is not None:
            access.kubectl("delete", "-k", EXAMPLE, "--ignore-not-found", "--wait=false", is_checked=False)
            access.kubectl("delete", "-k", PLATFORM, "--ignore-not-found", "--wait=false", is_checked=False)
            access.kubectl("delete", "-f", "crds", "--ignore-not-found", "--wait=false", is_checked=False)
            access.kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=true", is_checked=False)
    finally:
        signal.signal(signal.SIGINT, previous)


def _say_next(screen: Screen, access: Access, *, is_local: bool) -> None:
    screen.step("Everything is still up. Try next:")
    prefix = " ".join(access.command)
    the_end = "make cluster-down                                          # end it; nothing stays behind"
    if not is_local:
        the_end = f"k delete -f crds; k delete -k {PLATFORM}; k delete namespace shop"
    for line in (
        f"alias k='{prefix}'",
        "k -n shop get cw -w                                        # watch the workloads",
        "k -n shop edit cw support-bot                              # change its model, limits or profile",
        "k edit sp careful                                          # in force in every proxy within a second",
        'k -n shop patch cm rates --type merge -p \'{"data":{"support-bot":"1800"}}\'   # three times the quota again',
        "k -n shop logs deploy/support-bot -c claudeops-sidecar -f  # what the proxy says",
        the_end,
    ):
        screen.note(line)


if __name__ == "__main__":
    sys.exit(main())
