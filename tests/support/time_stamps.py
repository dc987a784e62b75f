"""A time-stamping authority of OpenSSL's, behind a server on loopback."""

import contextlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

SETTINGS = """
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[stamp]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
ess_cert_id_alg = sha256
[req]
distinguished_name = name
[name]
"""


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def authority(folder: Path, digests: str = "sha256") -> Iterator[tuple[str, Path]]:
    """Yield the address of an authority that stamps these digests, and its root certificate."""
    settings = folder / "tsa.cnf"
    settings.write_text(SETTINGS.format(folder=folder, digests=digests))
    (folder / "serial").write_text("01\n")
    for name in ("ca", "tsa"):
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/{name}.key",
                "-out", f"{folder}/{name}.csr", "-subj", f"/CN={name} of a test", "-config", f"{settings}")  # fmt: skip
    common = ["-days", "30", "-extfile", f"{settings}"]
    openssl("x509", "-req", "-in", f"{folder}/ca.csr", "-signkey", f"{folder}/ca.key", "-out", f"{folder}/ca.pem",
            "-extensions", "ca", *common)  # fmt: skip
    openssl("x509", "-req", "-in", f"{folder}/tsa.csr", "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key",
            "-CAcreateserial", "-out", f"{folder}/tsa.pem", "-extensions", "tsa", *common)  # fmt: skip

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query, reply = folder / "query.tsq", folder / "reply.tsr"
            query.write_bytes(self.rfile.read(int(self.headers["content-length"])))
            openssl(
                "ts",
                "-reply",
                "-config",
                f"{settings}",
                "-section",
                "stamp",
                "-queryfile",
                f"{query}",
                "-out",
                f"{reply}",
            )
            content = b"no time stamp" if self.path == "/broken" else reply.read_bytes()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", folder / "ca.pem"
    finally:
        server.shutdown()
        server.server_close()
