"""Ceph's S3 gateway on loopback: one monitor, one object store daemon, one gateway, all throw-away.

The programs come from Debian's packages ceph-mon, ceph-osd and radosgw. Needs no root; all state
lies in one directory, objects in memory. An independent code base that hospitals really run, and a
useful stranger: it ignores ``If-None-Match`` on versioned buckets and stores no checksums.
"""

import contextlib
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from certificates import CertificateFiles, make_certificates
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from services import free_ports, listens, spawn, stop, wait_until

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw")

MEMORY_BYTES_MAX = 8 << 30
"""What the object store daemon may hold; memory is taken only as objects arrive."""


def is_installed() -> bool:
    """Whether every program is there."""
    return all(shutil.which(program) for program in (*PROGRAMS, "radosgw-admin"))


@contextlib.contextmanager
def running_radosgw(directory: Path) -> Iterator[S3Server]:
    """A fresh cluster of one with all its state in ``directory``; killed on the way out."""
    cluster = _Cluster(directory)
    cluster.create()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start()
        yield S3Server(
            endpoint=f"http://127.0.0.1:{cluster.http_port}",
            tls_endpoint=f"https://localhost:{cluster.https_port}",
            ca_path=cluster.certificates.ca,
            ignores_conditional_writes=True,
            loses_racing_extensions=False,
        )


class _Cluster:
    """The three daemons, their configuration and their keyring."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificates: CertificateFiles = make_certificates(directory)
        self.http_port, self.https_port, self._monitor_v2, self._monitor_v1 = free_ports(4)
        self._fsid = str(uuid.uuid4())
        self._configuration = directory / "ceph.conf"
        self._keyring = directory / "keyring"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "LANG": "C.UTF-8",
        }

    def create(self) -> None:
        """Configuration, keys and the monitor's empty store."""
        for name in ("run", "log", "crash", "mon.a", "osd.0", "rgw.a"):
            (self.directory / name).mkdir()
        self._configuration.write_text(self._settings())
        keyring = str(self._keyring)
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.")
        for name, capabilities in (
            ("mon.", {"mon": "allow *"}),
            ("client.admin", {"mon": "allow *", "osd": "allow *"}),
            ("client.rgw.a", {"mon": "allow *", "osd": "allow *"}),
            ("osd.0", {"mon": "allow profile osd", "osd": "allow *"}),
        ):
            flags = [part for kind, cap in capabilities.items() for part in ("--cap", kind, cap)]
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *flags)
        monitor_map = str(self.directory / "monmap")
        self._run(
            *("monmaptool", "--create", "--fsid", self._fsid),
            *("--addv", "a", self._monitor_address(), monitor_map),
        )
        self._run(
            *("ceph-mon", "--mkfs", "-i", "a", "-c", str(self._configuration)),
            *("--monmap", monitor_map, "--keyring", keyring),
        )

    def start(self) -> None:
        """Start the daemons one after the other, each as soon as the one before it answers."""
        configuration = ("-c", str(self._configuration))
        self._daemon("mon", "ceph-mon", "-f", "-i", "a", *configuration)
        wait_until(
            lambda: listens(self._monitor_v2),
            process=self._processes[-1],
            log=self._log("mon"),
            what="ceph-mon",
            timeout_seconds=30,
        )
        osd_id = str(uuid.uuid4())
        self._ceph("osd", "new", osd_id)
        osd = ("ceph-osd", "-i", "0", *configuration, "--no-mon-config")
        self._run(*osd, "--mkfs", "--osd-uuid", osd_id)
        self._daemon("osd", osd[0], "-f", *osd[1:])
        wait_until(
            lambda: re.search(r"\b1 up\b", self._ceph("osd", "stat")) is not None,
            process=self._processes[-1],
            log=self._log("osd"),
            what="ceph-osd",
            timeout_seconds=60,
        )
        self._daemon(
            "rgw", "radosgw", "-f", "-n", "client.rgw.a", *configuration, "--no-mon-config"
        )
        wait_until(
            lambda: listens(self.http_port) and listens(self.https_port),
            process=self._processes[-1],
            log=self._log("rgw"),
            what="radosgw",
            timeout_seconds=120,
        )
        self._run(
            *("radosgw-admin", *configuration, "--no-mon-config", "-n", "client.admin"),
            *("user", "create", "--uid=owner", "--display-name=owner"),
            *(f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"),
        )

    def stop(self) -> None:
        """Kill what was started, the last first; the state goes too, so nothing is in order."""
        for process in reversed(self._processes):
            stop(process)

    def _daemon(self, name: str, program: str, *arguments: str) -> None:
        path = shutil.which(program)
        if path is None:
            raise FileNotFoundError(program)
        process = spawn(Path(path), *arguments, log=self._log(name), environment=self._environment)
        self._processes.append(process)

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.out"

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=self._environment,
            cwd=self.directory,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr[-3000:]}")
        return done.stdout

    def _ceph(self, *command: str) -> str:
        return self._run(
            "ceph", "-c", str(self._configuration), "--connect-timeout", "20", *command
        )

    def _monitor_address(self) -> str:
        return f"[v2:127.0.0.1:{self._monitor_v2},v1:127.0.0.1:{self._monitor_v1}]"

    def _settings(self) -> str:
        directory, files = self.directory, self.certificates
        return f"""
[global]
fsid = {self._fsid}
mon initial members = a
mon host = {self._monitor_address()}
public network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
run dir = {directory}/run
admin socket = {directory}/run/$name.asok
log file = {directory}/log/$name.log
crash dir = {directory}/crash
keyring = {directory}/keyring
# One copy of everything, in as few placement groups as there are: this is about S3, not safety.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
# The monitor gathers changes for a second by default; the gateway makes its pools one by one.
paxos propose interval = 0.01
paxos min wait = 0.01
[mon.a]
mon data = {directory}/mon.a
[osd.0]
osd data = {directory}/osd.0
osd objectstore = memstore
memstore device bytes = {MEMORY_BYTES_MAX}
osd class load list = *
osd class default list = *
[client.rgw.a]
# Without tcp_nodelay every small answer waits 40 ms for the client's acknowledgement.
rgw frontends = beast tcp_nodelay=1 endpoint=127.0.0.1:{self.http_port} \
ssl_endpoint=127.0.0.1:{self.https_port} ssl_certificate={files.certificate} \
ssl_private_key={files.private_key}
rgw data = {directory}/rgw.a
rgw enable usage log = false
rgw dns name = localhost
"""
