"""Certificates of this machine, signed by themselves."""

import subprocess
from pathlib import Path


def certificate(folder: Path, name: str = "test", *, days: int = 2) -> bytes:
    """Write cert.pem and key.pem for 127.0.0.1, of this common name and for so many days; return the certificate."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "cert.pem").read_bytes()


def expire(folder: Path) -> None:
    """Let cert.pem have ended a day ago."""
    subprocess.run(
        ["openssl", "x509", "-in", str(folder / "cert.pem"), "-signkey", str(folder / "key.pem"), "-days", "-1",
         "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


def lock(folder: Path) -> None:
    """Encrypt key.pem with a passphrase."""
    subprocess.run(
        ["openssl", "ec", "-in", str(folder / "key.pem"), "-aes256", "-passout", "pass:s3cr3t",
         "-out", str(folder / "key.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
