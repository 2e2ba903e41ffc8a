"""Logging in to Databricks: which login counts, how long an OAuth token is used, and what is said when none works."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from localtrack.errors import CredentialError
from localtrack_sync.protocol.effects import Failure, Outcome, Reply
from localtrack_sync.remote.credentials import NoTokenYet
from localtrack_sync.remote.databricks_config import DatabricksConfig
from localtrack_sync.remote.databricks_login import AGAIN_S, EARLY_S, SCOPE, DatabricksLogin, databricks_sdk

HOST = "https://host.example"
M2M = {"client_id": "c", "client_secret": "s3cret"}


@dataclass
class Issuer:
    """Where tokens come from, and a clock.

    Attributes:
        answers: instead of tokens, as long as there are any.
    """

    now: float = 0.0
    lifetime: float = 3600.0
    asked: list[tuple[str, Mapping[str, str], tuple[str, str]]] = field(default_factory=list)
    answers: list[Outcome] = field(default_factory=list)

    def post(self, url: str, form: Mapping[str, str], login: tuple[str, str]) -> Outcome:
        """Give out a token."""
        self.asked.append((url, form, login))
        if self.answers:
            return self.answers.pop(0)
        return Reply(200, {"access_token": f"token{len(self.asked)}", "expires_in": self.lifetime})

    def login(self, values: Mapping[str, str], sdk: Mapping[str, str] | None = None) -> DatabricksLogin:
        """A login with these values."""
        config = DatabricksConfig(HOST, HOST, "", values, "the environment")
        library = databricks_sdk if sdk is None else lambda _: lambda: sdk
        return DatabricksLogin(HOST, lambda: config, self.post, lambda: self.now, library)


def test_a_token_is_sent_as_it_is() -> None:
    """It beats a service principal unless auth_type says otherwise; nobody is asked."""
    issuer = Issuer()
    assert issuer.login({"token": "t", **M2M}).current().header == "Bearer t"
    assert issuer.asked == []
    assert issuer.login({"token": "t", **M2M, "auth_type": "oauth-m2m"}).current().header == "Bearer token1"


def test_a_service_principal_gets_one_token_until_shortly_before_its_end() -> None:
    """Client credentials, scope all-apis, id and secret by Basic; the next token comes before the old one ends."""
    issuer = Issuer()
    login = issuer.login(M2M)
    headers = set()
    for issuer.now in (0.0, 1000.0, 3600.0 - EARLY_S - 1):
        headers.add(login.current().header)
    assert headers == {"Bearer token1"}
    assert issuer.asked == [(f"{HOST}/oidc/v1/token", SCOPE, ("c", "s3cret"))]
    issuer.now = 3600.0 - EARLY_S
    assert login.current().header == "Bearer token2"


def test_a_short_lived_token_is_used_for_half_of_its_life() -> None:
    """A lifetime below the margin does not make every request fetch a token."""
    issuer = Issuer(lifetime=60.0)
    login = issuer.login(M2M)
    for issuer.now in (0.0, 29.0, 31.0):
        login.current()
    assert len(issuer.asked) == 2


def test_many_threads_fetch_one_token() -> None:
    """Requests that go out together do not each ask for a token."""
    issuer = Issuer()
    login = issuer.login(M2M)
    threads = [threading.Thread(target=login.current) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(issuer.asked) == 1


def test_an_answer_that_never_comes_is_no_refusal() -> None:
    """The token's end may pass while nobody answers: then it is tried again; until then the old one is used."""
    issuer = Issuer()
    login = issuer.login(M2M)
    login.current()
    issuer.answers = [Failure(sent=False, reason="no route"), Reply(503, None, "away"), Reply(429, None, "", 7.0)]
    issuer.now = 3600.0 - EARLY_S
    assert login.current().header == "Bearer token1"
    issuer.now = 3600.0
    with pytest.raises(NoTokenYet, match="503"):
        login.current()
    with pytest.raises(NoTokenYet) as throttled:
        login.current()
    assert throttled.value.retry_after_s == 7.0
    assert login.current().header == "Bearer token5"


def test_a_refused_service_principal_is_an_error_that_names_it_and_not_its_secret() -> None:
    """The words of the workspace, the client id, what to look at."""
    issuer = Issuer(answers=[Reply(401, {"error": "invalid_client", "error_description": "authentication failed"})])
    with pytest.raises(CredentialError, match="refuses the service principal c: authentication failed") as refused:
        issuer.login(M2M).current()
    assert "s3cret" not in refused.value.message + refused.value.hint
    assert "DATABRICKS_CLIENT_SECRET" in refused.value.hint


def test_a_refused_token_is_replaced_once() -> None:
    """Two requests with the same refused token: both may be sent again. The next token refused at once: it is final."""
    issuer = Issuer()
    login = issuer.login(M2M)
    first, second = login.current(), login.current()
    assert first.refused is not None
    assert second.refused is not None
    assert first.refused()
    assert second.refused()
    third = login.current()
    assert third.header == "Bearer token2"
    assert third.refused is not None
    assert not third.refused()
    issuer.now = AGAIN_S
    later = login.current()
    assert later.refused is not None
    assert later.refused()


def test_everything_else_is_left_to_the_library() -> None:
    """All headers that it gives are sent, with those of the workspace."""
    given = {"Authorization": "Bearer x", "X-Databricks-Azure-SP-Management-Token": "y"}
    credential = Issuer().login({"auth_type": "azure-client-secret", "workspace_id": "7"}, given).current()
    assert credential.header == "Bearer x"
    assert dict(credential.headers) == {
        "X-Databricks-Azure-SP-Management-Token": "y",
        "X-Databricks-Org-Id": "7",
        "X-Databricks-Workspace-Id": "7",
    }


def test_without_the_library_the_message_says_what_to_install() -> None:
    """Before anything is sent: what is configured, and the three ways out."""
    with pytest.raises(CredentialError, match="auth_type azure-cli needs databricks-sdk") as refused:
        Issuer().login({"auth_type": "azure-cli"}).check()
    assert "localtrack[databricks]" in refused.value.hint
    with pytest.raises(CredentialError, match=r"no login for https://host\.example is configured"):
        Issuer().login({}).check()
    with pytest.raises(CredentialError, match="auth_type is pat, and its values are missing"):
        Issuer().login({"auth_type": "pat"}).check()


def test_credentials_do_not_follow_a_configuration_to_another_host() -> None:
    """A profile that was edited meanwhile: nothing is sent."""
    moved = DatabricksConfig("databricks", "https://other.example", "", {"token": "t"})
    issuer = Issuer()
    login = DatabricksLogin(HOST, lambda: moved, issuer.post, lambda: 0.0, databricks_sdk)
    with pytest.raises(CredentialError, match=r"names https://other\.example by now"):
        login.current()


def test_nothing_secret_is_in_a_representation() -> None:
    """Neither the credential nor the login shows a token or secret."""
    login = Issuer().login(M2M)
    shown = repr(login.current()) + repr(login) + repr(DatabricksConfig(HOST, HOST, "", {"token": "s3cret"}))
    assert "s3cret" not in shown
    assert "token1" not in shown
