"""The command line: `python -m tools.localcluster COMMAND`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

from tools.images.recipe import build_images

from .box import enter, find_init
from .errors import LocalClusterError
from .forward import find_target, forwarded
from .imageload import load_images
from .kubectl import find_kubectl
from .layout import DEFAULT_NAME, Layout
from .lifecycle import api_of, down, is_up, up
from .progress import Progress
from .servercontrol import running_servers, start_server, stop_server

Command = Callable[[Layout, argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        return COMMANDS[arguments.command](Layout(arguments.name), arguments)
    except LocalClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    about = "A real one-node Kubernetes, boxed in namespaces of this machine."
    parser = argparse.ArgumentParser(prog="python -m tools.localcluster", description=about)
    default = os.environ.get("CLAUDEOPS_CLUSTER", DEFAULT_NAME)
    parser.add_argument("--name", default=default, help="which cluster, where there are several (default: $CLAUDEOPS_CLUSTER or default)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up; where it is up, bring its images up to date")
    commands.add_parser("down", help="end the cluster; nothing stays but the cache")
    commands.add_parser("status", help="what runs, and the path of the kubeconfig; exit code 1 if the cluster is not up")
    commands.add_parser("kubeconfig", help="print the path of the kubeconfig")
    commands.add_parser("images", help="build the images and load those that changed")
    for name, text in (("kubectl", "kubectl, for this cluster"), ("exec", "run a command inside the box, as root")):
        commands.add_parser(name, help=text).add_argument("words", nargs=argparse.REMAINDER)
    forward = commands.add_parser("forward", help="lead a port of this machine's loopback to a service or a pod, until Ctrl-C")
    forward.add_argument("-n", "--namespace", default="default")
    forward.add_argument("-p", "--port", type=int, default=0, help="the port here (default: a free one)")
    forward.add_argument("target", help="svc/NAME:PORT or pod/NAME:PORT")
    server = commands.add_parser("server", help="stop or start one server of the cluster, to see what happens without it")
    server.add_argument("action", choices=("stop", "start"))
    server.add_argument("server", help="for example kube-apiserver")
    return parser


def _up(layout: Layout, _: argparse.Namespace) -> int:
    progress = Progress()
    up(layout, progress)
    progress.say(f"up: export KUBECONFIG={layout.kubeconfig}")
    return 0


def _down(layout: Layout, _: argparse.Namespace) -> int:
    progress = Progress()
    progress.say("down" if down(layout) else "nothing was up")
    return 0


def _status(layout: Layout, _: argparse.Namespace) -> int:
    init = find_init(layout)
    if init is None:
        left = " (an earlier run left something; `up` or `down` removes it)" if layout.box.exists() else ""
        print(f"cluster {layout.name}: down{left}")
        return 1
    is_answering = is_up(layout)
    print(f"cluster {layout.name}: {'up' if is_answering else 'not ready'} (first process {init.pid})")
    print(f"kubeconfig: {layout.kubeconfig}\nkubectl: {find_kubectl(Progress())}\nlogs: {layout.logs}")
    for name, pid in sorted(running_servers(layout).items()):
        print(f"  {name}: pid {pid} in the box")
    return 0 if is_answering else 1


def _kubeconfig(layout: Layout, _: argparse.Namespace) -> int:
    api_of(layout)
    print(layout.kubeconfig)
    return 0


def _images(layout: Layout, _: argparse.Namespace) -> int:
    progress = Progress()
    api_of(layout)
    if not load_images(layout, build_images(progress), progress):
        progress.say("no image has changed")
    return 0


def _kubectl(layout: Layout, arguments: argparse.Namespace) -> int:
    api_of(layout)
    kubectl = find_kubectl(Progress())
    os.execv(kubectl, ["kubectl", f"--kubeconfig={layout.kubeconfig}", *arguments.words])


def _exec(layout: Layout, arguments: argparse.Namespace) -> int:
    words = enter(layout, arguments.words or ["sh"])
    os.execvp(words[0], words)


def _forward(layout: Layout, arguments: argparse.Namespace) -> int:
    target = find_target(layout, namespace=arguments.namespace, name=arguments.target)
    init = find_init(layout)
    with forwarded(layout, target, port=arguments.port) as port:
        print(f"127.0.0.1:{port}", flush=True)
        while init is not None and init.is_alive():
            time.sleep(1)
    return 0


def _server(layout: Layout, arguments: argparse.Namespace) -> int:
    (stop_server if arguments.action == "stop" else start_server)(layout, arguments.server)
    return 0


COMMANDS: dict[str, Command] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "kubeconfig": _kubeconfig,
    "images": _images,
    "kubectl": _kubectl,
    "exec": _exec,
    "forward": _forward,
    "server": _server,
}
