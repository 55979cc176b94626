"""A real Slurm of one node on 127.0.0.1, started and stopped by a test: munged, slurmctld, slurmd, a stand-in GPU.

All state lies in one folder below /tmp; no service, no database and no cgroup of the machine is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = ["munge", "slurmctld", "slurmd", "slurm-client"]
PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch"]
GPU = "AutoDetect=off\nNodeName={host} Name=gpu File=/dev/null\n"
"""The generic resource that is used as a GPU. It needs a file, because without one the node counts as broken."""

SRUN = "#!/bin/sh\nSLURM_CONF='{folder}/slurm.conf' exec /usr/bin/srun \"$@\"\n"
"""The inner part of the executor removes SLURM_CONF before it calls srun. This line sets it again."""

START_S, STOP_S = 30, 15


def install() -> str | None:
    """See that Slurm is there, by apt where it is not; returns why it cannot run here, or None."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    if all(map(shutil.which, PROGRAMS)):
        return None
    if shutil.which("apt-get") is None:
        return "Slurm is not installed, and this is no Debian to install it on"
    apt = ["apt-get", "-q", "-y", "--no-install-recommends"]
    for arguments in (["update"], ["install", *PACKAGES]):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run([*apt, *arguments], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"apt-get {arguments[0]} failed: {done.stderr.strip()[-500:]}"
    return None


@contextmanager
def one_node() -> Iterator[dict[str, str]]:
    """Run a cluster for the length of the block; yields the environment in which commands speak to it.

    Its jobs are cancelled and its daemons stopped at the end, each by its process, also when the block fails.
    """
    with ExitStack() as at_end:
        folder = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))  # short, as names of sockets must be
        at_end.callback(shutil.rmtree, folder)
        configure(folder)
        env = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        munge = folder / "munge"
        files = [f"--{what}={munge / what}" for what in ("key-file", "socket", "pid-file", "seed-file", "log-file")]
        at_end.enter_context(daemon(folder, env, "munged", "--foreground", *files))
        wait_until((munge / "socket").is_socket, folder)
        at_end.enter_context(daemon(folder, env, "slurmctld", "-D", "-c"))
        at_end.enter_context(daemon(folder, env, "slurmd", "-D", "-c"))
        at_end.callback(cancel_all, env)
        wait_until(lambda: ask(env, "sinfo", "--noheader", "--format=%t").strip() == "idle", folder)
        yield env


def configure(folder: Path) -> None:
    """Write everything the daemons read."""
    folder.chmod(0o755)  # munge refuses to talk through a folder that others cannot enter
    for name in ("munge", "controller", "node", "bin"):
        (folder / name).mkdir(mode=0o755)
    subprocess.run(["mungekey", "--create", "--keyfile", folder / "munge/key-file"], check=True)
    controller_port, node_port = free_ports()
    names = {"host": socket.gethostname().split(".")[0], "folder": folder}
    text = Path(__file__).with_name("slurm.conf").read_text()
    names |= {"controller_port": controller_port, "node_port": node_port}
    (folder / "slurm.conf").write_text(text.format(**names))
    (folder / "gres.conf").write_text(GPU.format(**names))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # unused; left open, slurmd looks for systemd
    (folder / "bin/srun").write_text(SRUN.format(**names))
    (folder / "bin/srun").chmod(0o755)


def free_ports() -> list[int]:
    """Return two ports of 127.0.0.1 on which nobody listens."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@contextmanager
def daemon(folder: Path, env: dict[str, str], name: str, *arguments: str) -> Iterator[None]:
    """Run a daemon in the foreground for the length of the block; it ends with this process, however that ends."""
    command = ["setpriv", "--pdeathsig", "TERM", name, *arguments]
    with open(folder / f"{name}.out", "w") as out:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cancel_all(env: dict[str, str]) -> None:
    """End every job and wait until the queue is empty."""
    ask(env, "scancel", "--full", "--signal=KILL", "--state=RUNNING", "--user=root")
    ask(env, "scancel", "--user=root")
    end = time.monotonic() + STOP_S
    while ask(env, "squeue", "--noheader") and time.monotonic() < end:
        time.sleep(0.1)


def ask(env: dict[str, str], *command: str) -> str:
    """Return the output of a command of Slurm, or '' if the command fails."""
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=START_S).stdout


def wait_until(condition, folder: Path) -> None:
    """Wait for a step of the start; raises TimeoutError with the end of every log."""
    end = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > end:
            logs = [f"{log.name}:\n{log.read_text()[-1000:]}" for log in sorted(folder.glob("*.[lo][ou][gt]"))]
            raise TimeoutError("\n".join(["Slurm did not start", *logs]))
        time.sleep(0.1)
