"""What can be found about a remote. Pure."""

from __future__ import annotations

from localtrack_sync.checkup.finding import Group, Kind, Level, by_id

_OK, _NOTE, _WARNING, _PROBLEM = Level.OK, Level.NOTE, Level.WARNING, Level.PROBLEM

_R = Group.REMOTE
_CLOCKS = (
    "Times of runs and points are those of the machine that logged them; the server's clock changes none. When two "
    "machines set one tag of the same run, the later clock wins, so a clock that is ahead beats newer values. Edits "
    "made on the server are not decided by time. Storages refuse signed requests from about 15 minutes on."
)

REMOTE = by_id(
    [
        Kind("reachable", _R, _OK, "Reachable"),
        Kind("tls", _R, _OK, "TLS"),
        Kind("credentials", _R, _OK, "Credentials"),
        Kind("server", _R, _OK, "Server"),
        Kind("clock", _R, _OK, "Clock"),
        Kind("limits", _R, _OK, "Limits"),
        Kind("workspace", _R, _OK, "Workspace"),
        Kind(
            "no-remote", _R, _NOTE, "No remote is known",
            "Runs name none, so everything stays on this disk.",
            "Name one: localtrack sync --to http://HOST, or set LOCALTRACK_REMOTE.",
        ),
        Kind(
            "remote-unusable", _R, _PROBLEM, "An address that is not one of a server",
            "What is to go there stays here.",
            "{hint}",
        ),
        Kind(
            "remote-untrusted", _R, _WARNING, "Not contacted: you have not chosen this server",
            "Only a journal names it, and that was not written by you: your credentials would go to whoever wrote it. "
            "`localtrack sync` does not go there either.",
            "If you trust it: localtrack doctor --to {url}, then localtrack sync --to {url}.",
        ),
        Kind(
            "remote-unnamed", _R, _NOTE, "Not contacted: no run of yours names this server",
            "It was delivered to with --to; the record of that in the store proves nothing about who asked for it.",
            "To look at it: localtrack doctor --to {url}",
        ),
        Kind(
            "not-contacted", _R, _NOTE, "Not contacted, as you asked (--offline)",
            "What the server says of itself is not known.",
            "Leave --offline out.",
        ),
        Kind(
            "proxy", _R, _NOTE, "Requests go through a proxy",
            "The environment says so. Trouble there looks like trouble of the server.",
            "If that is not meant, add the host to NO_PROXY.",
        ),
        Kind(
            "proxy-login", _R, _PROBLEM, "The proxy wants a login",
            "No request gets through; everything waits on this disk.",
            "Look at HTTP_PROXY and HTTPS_PROXY, or add the host to NO_PROXY.",
        ),
        Kind(
            "connection-settings", _R, _PROBLEM, "Settings of TLS or the proxy cannot be used",
            "Nothing is sent with them.",
            "{hint}",
        ),
        Kind(
            "tls-unchecked", _R, _WARNING, "The server's certificate is not checked",
            "MLFLOW_TRACKING_INSECURE_TLS is set: anybody on the way can read your credentials and answer in the "
            "server's place.",
            "Unset it. For a certificate of your own: MLFLOW_TRACKING_SERVER_CERT_PATH=/path/to/ca.pem",
        ),
        Kind(
            "plain-http", _R, _WARNING, "Credentials travel unencrypted",
            "The address begins with http://, so anybody on the way can read them.",
            "Use https://, or a tunnel (ssh -L) to the server.",
        ),
        Kind(
            "certificate-refused", _R, _PROBLEM, "The server's certificate is not accepted",
            "Nothing is sent to a server that cannot show who it is; everything waits on this disk.",
            "If your site has its own authority: MLFLOW_TRACKING_SERVER_CERT_PATH=/path/to/ca.pem. If it has expired, "
            "tell whoever runs the server. Look at this machine's clock as well.",
        ),
        Kind(
            "credentials-unusable", _R, _PROBLEM, "Credentials cannot be used",
            "Nothing is sent without those that are configured.",
            "{hint}",
        ),
        Kind(
            "credentials-refused", _R, _PROBLEM, "The server does not accept the credentials",
            "Nothing is delivered until it does; everything waits on this disk.",
            "Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (for Databricks: the "
            "profile or DATABRICKS_TOKEN). They are read anew at each attempt.",
        ),
        Kind(
            "credentials-forbidden", _R, _PROBLEM, "The credentials may not even read there",
            "The server knows them (or something on the way refuses us), and lets us do nothing.",
            "Ask whoever runs the server for the right to create experiments and runs.",
        ),
        Kind(
            "default-experiment-forbidden", _R, _NOTE, "The experiment Default may not be read with these credentials",
            "Other experiments may well be open to you; runs that were logged without an experiment go to that one.",
            "Log into an experiment of your own: set_experiment(...).",
        ),
        Kind(
            "token-unavailable", _R, _WARNING, "No token could be fetched",
            "Nobody answers where tokens come from; everything waits on this disk.",
            "Try again later; nothing is lost.",
        ),
        Kind(
            "name-unknown", _R, _WARNING, "The server's name is not known here",
            "Offline: everything waits on this disk, and nothing is lost. Without a network names cannot be looked up.",
            "If this machine has a network, look for a typing mistake in the address, and at DNS or the VPN.",
        ),
        Kind(
            "remote-away", _R, _WARNING, "The server does not answer",
            "Offline: everything waits on this disk, and nothing is lost.",
            "Look whether it runs, whether the port is right, and whether a VPN or a firewall is between. "
            "A longer wait: --timeout 30",
        ),
        Kind(
            "remote-slow", _R, _NOTE, "The server answers slowly",
            "Delivery takes long; nothing else is wrong.",
            "More requests at once may help: LOCALTRACK_CONNECTIONS=8",
        ),
        Kind(
            "remote-trouble", _R, _WARNING, "The server, or something before it, has trouble",
            "Everything waits on this disk until it answers properly; nothing is lost.",
            "Try again later; if it stays, show these words to whoever runs the server.",
        ),
        Kind(
            "redirects", _R, _PROBLEM, "The address leads elsewhere",
            "localtrack follows no redirect: a POST would come out as a GET, and credentials would go elsewhere.",
            "Use the address that it leads to, if you trust it: --to, LOCALTRACK_REMOTE or MLFLOW_TRACKING_URI. A page "
            "for logins there means that the server stands behind one that programs cannot pass.",
        ),
        Kind(
            "captive-portal", _R, _WARNING, "A web page answers in the server's place",
            "The login page of a network (captive portal) or of a gateway, or another program at this address. It is "
            "not taken for an answer: everything waits on this disk.",
            "Open the address in a browser and log in to the network; or correct the address.",
        ),
        Kind(
            "not-mlflow", _R, _PROBLEM, "There is no MLflow API at this address",
            "Nothing can be delivered there.",
            "Look at the host, the port and the path: the address is that of MLflow's start page, without #/...",
        ),
        Kind(
            "server-older", _R, _WARNING, "The server is older than those that localtrack was tested with",
            "Tested are MLflow 2.22 and 3.x. Older ones may lack what a replay needs; what they refuse is kept and "
            "listed.",
            "Upgrade the server, or verify what was delivered: localtrack verify",
        ),
        Kind(
            "server-newer", _R, _NOTE, "The server is newer than those that localtrack was tested with",
            "Most likely all is well; nobody has tried.",
            "After the first delivery: localtrack verify",
        ),
        Kind(
            "server-unnamed", _R, _NOTE, "The server does not tell its version",
            "It is treated with care: as one that may store twice what is sent twice.",
            "Nothing to do.",
        ),
        Kind(
            "keeps-duplicates", _R, _NOTE, "The server stores again what is sent again",
            "Its store is a file store, or it is older than 3.16, or does not say. So after a lost reply nothing is "
            "sent again before the server was read back: that takes longer, and ends the same.",
            "Nothing to do.",
        ),
        Kind(
            "no-logged-models", _R, _NOTE, "The server has no logged models",
            "They came with MLflow 3; logged models wait, parked, and everything else is delivered.",
            "Upgrade the server to MLflow 3 if you log models.",
        ),
        Kind(
            "clock-unknown", _R, _NOTE, "The server does not tell its time",
            "Whether the clocks agree is not known.",
            "Nothing to do, if this machine keeps its time by NTP.",
        ),
        Kind(
            "clock-off", _R, _NOTE, "The clocks differ by more than 5 seconds", _CLOCKS,
            "Have both machines keep their time by NTP (timedatectl).",
        ),
        Kind(
            "clock-far-off", _R, _WARNING, "The clocks differ by more than a minute", _CLOCKS,
            "Find out which one is wrong, and have it keep its time by NTP (timedatectl).",
        ),
    ]
)  # fmt: skip
