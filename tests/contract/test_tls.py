"""How certificates are checked: by default, always."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from localtrack.errors import ReplayError
from localtrack_sync.remote.tls import tls_from


def test_certificates_are_checked_by_default() -> None:
    """Without settings, name and chain are checked against the usual authorities."""
    context = tls_from({})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 10


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_only_the_setting_for_it_switches_the_check_off(value: str) -> None:
    """MLFLOW_TRACKING_INSECURE_TLS, and nothing else."""
    assert tls_from({"MLFLOW_TRACKING_INSECURE_TLS": value}).verify_mode is ssl.CERT_NONE
    assert tls_from({"MLFLOW_TRACKING_INSECURE_TLS": "false"}).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_own_authorities(tmp_path: Path, name: str) -> None:
    """A file of authorities replaces the usual ones; a directory does too."""
    first = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    (tmp_path / "one.pem").write_text(first[0] + first[1] + "\n")
    assert tls_from({name: str(tmp_path / "one.pem")}).cert_store_stats()["x509"] == 1
    assert tls_from({name: str(tmp_path)}).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, name: str) -> None:
    """A missing or broken file is named; it does not mean "no check"."""
    (tmp_path / "broken.pem").write_text("no certificate")
    for path in (tmp_path / "missing.pem", tmp_path / "broken.pem"):
        with pytest.raises(ReplayError, match=name):
            tls_from({name: str(path)})


def test_settings_that_exclude_each_other_are_refused() -> None:
    """As in MLflow's client."""
    with pytest.raises(ReplayError, match="exclude each other"):
        tls_from({"MLFLOW_TRACKING_INSECURE_TLS": "true", "MLFLOW_TRACKING_SERVER_CERT_PATH": certifi.where()})
