"""What can be found without asking anybody: about this machine, the store and the daemon. Pure."""

from __future__ import annotations

from localtrack_sync.checkup.finding import Group, Kind, Level, by_id

_OK, _NOTE, _WARNING, _PROBLEM = Level.OK, Level.NOTE, Level.WARNING, Level.PROBLEM

_M, _S, _D = Group.MACHINE, Group.STORE, Group.DAEMON

MACHINE = by_id(
    [
        Kind("versions", _M, _OK, "Versions"),
        Kind("open-files", _M, _OK, "Files open at once"),
        Kind("identity-key", _M, _OK, "Your identity key"),
        Kind(
            "python-untested", _M, _NOTE, "This Python is newer than those that localtrack was tested with",
            "Most likely all is well; nobody has tried.",
            "If something odd happens, try it with Python 3.13 before you report it.",
        ),
        Kind(
            "sqlite-too-old", _M, _PROBLEM, "SQLite is too old",
            "The catalog and the delivery state need SQLite 3.37 or newer; commands fail with an error of SQLite.",
            "Use a Python that is linked with a newer SQLite: one from conda-forge, python.org or uv brings its own.",
        ),
        Kind(
            "sqlite-wal-reset", _M, _NOTE, "This SQLite has the WAL-reset bug",
            "SQLite 3.7.0 to 3.51.2 can damage a database when two connections write or checkpoint at the same moment. "
            "localtrack cannot reach it: each journal has one writer, and the catalog and the delivery states are "
            "written behind a lock. It would matter if another tool wrote to these files.",
            "Open files of a store with other tools only to read (sqlite3 'file:PATH?mode=ro'). "
            "SQLite 3.51.3 is free of it; so are 3.50.7 and 3.44.6.",
        ),
        Kind(
            "open-files-low", _M, _WARNING, "Few files may be open at once",
            "A daemon that watches many journals, or a training with many data files, runs into the limit.",
            "Raise it: ulimit -n 4096 in the shell, or LimitNOFILE=4096 in the unit file of the service.",
        ),
        Kind(
            "identity-key-open", _M, _WARNING, "Your identity key proves nothing",
            "It shows which remotes you chose. One that others can read or write, or that is not yours, is not "
            "believed: `localtrack sync` then contacts no server that only a journal names.",
            "If nobody else can have copied it: chmod 600 {path}. Else remove it; a new one is made by the next run, "
            "and older runs need --to once.",
        ),
    ]
)  # fmt: skip

STORE = by_id(
    [
        Kind("store", _S, _OK, "Store"),
        Kind("store-permissions", _S, _OK, "Permissions"),
        Kind("disk-space", _S, _OK, "Free space"),
        Kind("local-file-system", _S, _OK, "File system"),
        Kind("catalog", _S, _OK, "Catalog"),
        Kind("delivery-states", _S, _OK, "Delivery states"),
        Kind("journals", _S, _OK, "Journals"),
        Kind("nothing-owed", _S, _OK, "Nothing is owed"),
        Kind("owed", _S, _OK, "Owed"),
        Kind(
            "store-missing", _S, _PROBLEM, "There is no store here",
            "Nothing can be said about what was logged; a mistyped path looks the same.",
            "The first logging call makes one. If yours is elsewhere: --store PATH, or set LOCALTRACK_STORE.",
        ),
        Kind(
            "store-not-writable", _S, _PROBLEM, "The store cannot be written",
            "Training goes on, but what it logs is lost (it warns once and counts). Nothing can be delivered.",
            "Look at the owner and the permissions of {path}, and whether its file system is mounted read-only.",
        ),
        Kind(
            "store-writable-by-others", _S, _PROBLEM, "Others can write to the store",
            "Whoever can write there can change what you logged, and what is delivered in your name.",
            "chmod -R go-rwx {path}",
        ),
        Kind(
            "store-readable-by-others", _S, _WARNING, "Others can read the store",
            "What you logged, files included, is open to other users of this machine. localtrack makes directories "
            "with 0700 and files with 0600.",
            "If that is not meant: chmod -R go-rwx {path}",
        ),
        Kind(
            "store-loose-files", _S, _NOTE, "Files in the store are more open than localtrack makes them",
            "The directory around them is closed, so nobody reaches them; a copy of them would be open.",
            "chmod -R go-rwx {path}",
        ),
        Kind(
            "store-foreign-owner", _S, _WARNING, "Some of the store belongs to another user",
            "A container or a job that ran as another user (root) wrote here. You may be unable to read, deliver or "
            "remove these files, or they yours.",
            "If they are yours: sudo chown -R $(id -un) {path}. Else give each user a store of their own.",
        ),
        Kind(
            "disk-space-low", _S, _WARNING, "The disk is nearly full",
            "When it is full, training goes on but what it logs is lost (it warns once and counts).",
            "Make room on the file system of {path}. What is delivered and verified may go: localtrack gc.",
        ),
        Kind(
            "disk-inodes-low", _S, _WARNING, "The disk can hold few more files",
            "Without inodes no journal can be made, however much space is left.",
            "Remove small files you do not need from the file system of {path}.",
        ),
        Kind(
            "network-file-system", _S, _NOTE, "The store is on a network file system",
            "SQLite's shared memory does not work there. A journal is locked by its process as long as that runs, so "
            "its records are shown and delivered when it has ended; there are no events, so the daemon looks every few "
            "seconds; the catalog uses rollback mode and is slower.",
            "A local disk is faster and shows runs live: LOCALTRACK_STORE=/local/disk/store.",
        ),
        Kind(
            "owed-for-a-day", _S, _NOTE, "Something has waited for more than a day",
            "Nothing is lost by waiting, but this disk holds the only copy.",
            "localtrack sync, when the server can be reached.",
        ),
        Kind(
            "owed-for-a-week", _S, _WARNING, "Something has waited for more than a week",
            "Nothing is lost by waiting, but this disk holds the only copy.",
            "localtrack sync; or localtrack daemon install, which delivers by itself.",
        ),
        Kind(
            "owed-unknown", _S, _WARNING, "What is owed cannot be told",
            "The delivery states could not be read together with the catalog.",
            "localtrack sync brings them up to date; if it fails, it says why.",
        ),
        Kind(
            "records-stuck", _S, _NOTE, "Records cannot be delivered as they are",
            "They collide with values on the server, were refused by it, or wait for something.",
            "localtrack conflicts says which and why.",
        ),
        Kind(
            "journal-damaged", _S, _PROBLEM, "Journals are damaged",
            "Records whose checksums do not fit are left out and never delivered. The disk, the file system or a copy "
            "of an open file is to blame.",
            "Restore these files from a copy if there is one. Look at the disk (dmesg, SMART).",
        ),
        Kind(
            "journal-unreadable", _S, _PROBLEM, "Journals cannot be read",
            "What they hold is neither shown nor delivered.",
            "Restore them from a copy, or move them out of {path}. localtrack status --journals says more.",
        ),
        Kind(
            "journal-losses", _S, _PROBLEM, "Records could not be written when they were logged",
            "The disk was full or refused; these records are gone.",
            "Make room, or repair the disk. With LOCALTRACK_STRICT=true such trouble stops the training.",
        ),
        Kind(
            "journal-newer", _S, _WARNING, "A newer localtrack wrote journals here",
            "What this version does not know is left out until it does; nothing is lost.",
            "pip install -U localtrack on this machine.",
        ),
        Kind(
            "catalog-older", _S, _NOTE, "The catalog is of an older version",
            "It is built again from the journals by the next command that reads the store, once.",
            "Nothing to do.",
        ),
        Kind(
            "catalog-newer", _S, _PROBLEM, "The catalog is of a newer localtrack",
            "This version cannot read it, so it can show and deliver nothing.",
            "pip install -U localtrack; or remove {path}: it is built again from the journals.",
        ),
        Kind(
            "catalog-unusable", _S, _PROBLEM, "The catalog cannot be used",
            "Nothing can be shown or delivered. No record is in danger: the journals hold them all.",
            "Remove {path} (it is built again from the journals), and look at the disk.",
        ),
        Kind(
            "delivery-state-older", _S, _NOTE, "A delivery state is of an older version",
            "The next sync brings it up to date.",
            "Nothing to do.",
        ),
        Kind(
            "delivery-state-newer", _S, _PROBLEM, "A delivery state is of a newer localtrack",
            "This version cannot read it, and delivers nothing there.",
            "pip install -U localtrack on this machine.",
        ),
        Kind(
            "delivery-state-unusable", _S, _PROBLEM, "A delivery state cannot be used",
            "Nothing is delivered to its remote. Losing it costs questions to the server, never a duplicate.",
            "Move {path} away and run localtrack sync: what the server has is read back.",
        ),
        Kind(
            "leftovers", _S, _NOTE, "Files lie in the store that are not part of it",
            "They are not read; they take room, and may be what is left of damage that was set aside.",
            "Remove what you do not need.",
        ),
    ]
)  # fmt: skip

DAEMON = by_id(
    [
        Kind("daemon-running", _D, _OK, "The daemon runs"),
        Kind("inotify", _D, _OK, "Events of the file system"),
        Kind("linger", _D, _OK, "Services of yours outlive your logins"),
        Kind(
            "daemon-stopped", _D, _NOTE, "No daemon runs for this store",
            "Nothing is delivered by itself.",
            "localtrack daemon start; or localtrack sync, by hand or from cron.",
        ),
        Kind(
            "daemon-unknown", _D, _WARNING, "Whether a daemon runs cannot be told",
            "Its lock file cannot be looked at.",
            "Look at the owner and the permissions of {path}.",
        ),
        Kind(
            "inotify-watches-low", _D, _WARNING, "Few directories may be watched",
            "Each directory of the store takes one watch of this user, and other programs (editors) take many. Without "
            "a watch the daemon learns of news by its slow scan only.",
            "sudo sysctl fs.inotify.max_user_watches={wanted} (to keep it: a file in /etc/sysctl.d).",
        ),
        Kind(
            "inotify-instances-low", _D, _WARNING, "Few programs may watch files",
            "Each program of this user that watches takes one instance. Without one the daemon learns of news by its "
            "slow scan only.",
            "sudo sysctl fs.inotify.max_user_instances=128 (to keep it: a file in /etc/sysctl.d).",
        ),
        Kind(
            "linger-off", _D, _NOTE, "Services of yours end when you log out",
            "A daemon that is installed as a systemd user service would end with your last login.",
            "loginctl enable-linger",
        ),
        Kind(
            "linger-off-service", _D, _WARNING, "The installed daemon ends when you log out",
            "It is a systemd user service, and these end with your last login.",
            "loginctl enable-linger",
        ),
    ]
)  # fmt: skip
