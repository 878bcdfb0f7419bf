"""The certificate of a service that speaks HTTPS, tried before anything else is done."""

import ssl
from pathlib import Path

from model.errors import LabelsetError


class InvalidCertificate(LabelsetError):
    """A certificate or private key that cannot be used."""

    code = "invalid_certificate"


def check_certificate(certificate: Path, key: Path) -> None:
    """Refuse files that no connection could be made with.

    Raises:
        InvalidCertificate: one cannot be read, is not PEM or is encrypted, or the key is not that of the certificate.
    """
    for what, path in (("certificate", certificate), ("private key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise InvalidCertificate(f"the TLS {what} {path} cannot be read: {error.strerror}") from None
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or "they are not PEM").lower().replace("_", " ")
        raise InvalidCertificate(
            f"the TLS certificate {certificate} and the private key {key}, which must not be encrypted, cannot be used "
            f"together: {reason}"
        ) from None
