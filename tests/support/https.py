"""A web server on the loopback that speaks TLS and byte ranges, as object stores do, and notes what it was asked."""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["serve_folder"]


def _certificate(folder: Path) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "server.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def serve_folder(folder: Path, scratch: Path) -> Iterator[tuple[str, Path, list[tuple[str, int]]]]:
    """(URL, certificate to trust, [(path, bytes sent)]) of a server of the files in `folder`."""
    asked: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = folder / self.path.partition("?")[0].lstrip("/")
            data = path.read_bytes() if path.is_file() else None
            first, last, code = 0, len(data or b"") - 1, 404 if data is None else 200
            asks = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if data is not None and asks:
                first, last, code = int(asks[1]), min(int(asks[2] or last), last), 206
            part = (data or b"")[first : last + 1]
            self.send_response(code)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
            if code == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data or b'')}")
            self.end_headers()
            if body:
                self.wfile.write(part)
            asked.append((self.path, len(part) if body else 0))

    pem = _certificate(scratch)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}", pem, asked
        finally:
            server.shutdown()
            thread.join()
