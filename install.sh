#!/bin/sh
# Installs Vecuna and runs it as a service: systemd on Linux, launchd on macOS.
# Nothing happens before the last line calls main, so a script that was cut short does nothing.
set -eu

usage() {
    cat <<'USAGE'
Usage: ./install.sh [OPTIONS]

Builds Vecuna from this checkout, installs it, and starts it as a service.

  --binary FILE   install this binary instead of building one
  --prefix DIR    install below DIR (default /usr/local); outside /usr, /usr/local and /opt
                  nothing but DIR is touched: no user is created, no service started
  --user NAME     user that the service runs as (default vecuna, created when missing)
  --uninstall     stop the service and remove what was installed, but keep the models
  --purge         with --uninstall: remove the models and the user too
  --dry-run       say what would be done, and do nothing
  --help          show this text
USAGE
}

main() {
    umask 022
    read_options "$@"
    choose_places
    "$ACTION"
}

read_options() {
    ACTION=install_all PREFIX=/usr/local BINARY='' ACCOUNT='' PURGE=no DRY_RUN=no
    while [ $# -gt 0 ]; do
        case $1 in
            --binary | --prefix | --user) [ -n "${2-}" ] || fail "option '$1' needs a value" ;;
        esac
        case $1 in
            --binary) BINARY=$2 && shift ;;
            --prefix) PREFIX=$2 && shift ;;
            --user) ACCOUNT=$2 && shift ;;
            --uninstall) ACTION=uninstall_all ;;
            --purge) PURGE=yes ;;
            --dry-run) DRY_RUN=yes ;;
            -h | --help) usage && exit 0 ;;
            *) fail "unknown option '$1', see --help" ;;
        esac
        shift
    done
    [ "$PURGE" = no ] || [ "$ACTION" = uninstall_all ] || fail "--purge goes with --uninstall"
}

# Sets OS, SYSTEM (is this an installation for the whole machine?), BIN, SERVICE, STATE, CACHE and ACCOUNT.
choose_places() {
    OS=$(uname -s)
    PREFIX=${PREFIX%/}
    case $PREFIX in
        '') fail "'/' is no prefix" ;;
        *[\"\\%\$\<\&]*) fail "prefix '$PREFIX' holds a character that a service file cannot name" ;;
        /*) ;;
        *) PREFIX=$PWD/$PREFIX ;;
    esac
    case $PREFIX in
        /usr | /usr/local | /opt | /opt/*) SYSTEM=yes ;;
        *) SYSTEM=no ;;
    esac
    BIN=$PREFIX/bin/vecuna
    case $OS-$SYSTEM in
        Linux-yes) SERVICE=/etc/systemd/system/vecuna.service ;;
        Linux-no) SERVICE=$PREFIX/lib/systemd/system/vecuna.service ;;
        Darwin-yes) SERVICE=$HOME/Library/LaunchAgents/vecuna.plist ;;
        Darwin-no) SERVICE=$PREFIX/lib/launchd/vecuna.plist ;;
        *) fail "no service is known for $OS: use 'cargo build --release' and run 'vecuna serve'" ;;
    esac
    case $OS in
        Linux) STATE=/var/lib/vecuna CACHE=/var/cache/vecuna ;;
        Darwin) STATE=$HOME/Library/Application\ Support/vecuna CACHE=$HOME/Library/Caches/vecuna ;;
    esac
    choose_account
}

# A launchd agent belongs to the user who installs it, and so does an installation in a folder of one's own.
choose_account() {
    if [ "$OS-$SYSTEM" = Linux-yes ]; then
        ACCOUNT=${ACCOUNT:-vecuna}
    else
        ACCOUNT=${ACCOUNT:-$(id -un)}
    fi
    case $ACCOUNT in
        -* | *[!A-Za-z0-9_.-]*) fail "'$ACCOUNT' is no user name" ;;
    esac
    [ "$OS" = Linux ] || [ "$ACCOUNT" = "$(id -un)" ] || fail "a launchd agent runs as the user who installs it"
    [ "$OS-$SYSTEM-$(id -u)" != Darwin-yes-0 ] || fail "run this without sudo: the launchd agent belongs to a user"
}

install_all() {
    [ -n "$BINARY" ] || build
    [ "$DRY_RUN" = yes ] || "$BINARY" --version >/dev/null 2>&1 || fail "'$BINARY' does not run on this machine"
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "$SCRATCH"' EXIT
    [ "$OS-$SYSTEM" != Linux-yes ] || add_account
    put 755 "$BINARY" "$BIN"
    case $OS in
        Linux) systemd_unit ;;
        Darwin) launchd_agent ;;
    esac >"$SCRATCH/service"
    put 644 "$SCRATCH/service" "$SERVICE"
    [ "$DRY_RUN" = no ] || cat "$SCRATCH/service"
    start
    advise
}

build() {
    HERE=$(cd "$(dirname "$0")" && pwd)
    [ -f "$HERE/cli/Cargo.toml" ] || fail "this is no checkout of Vecuna: give --binary FILE"
    command -v cargo >/dev/null || fail "cargo was not found: install Rust, or give --binary FILE"
    say "building from $HERE (some minutes)"
    cd "$HERE"
    run cargo build --release --locked --bin vecuna
    BINARY=${CARGO_TARGET_DIR:-$HERE/target}/release/vecuna
}

# The models stay when Vecuna goes, so the user that owns them has its home where they are.
add_account() {
    if id "$ACCOUNT" >/dev/null 2>&1; then
        return
    fi
    say "creating the system user '$ACCOUNT'"
    as_root useradd --system --user-group --no-create-home --home-dir "$STATE" --shell /bin/false "$ACCOUNT"
    for group in render video; do
        if getent group "$group" >/dev/null; then
            as_root usermod --append --groups "$group" "$ACCOUNT"
        fi
    done
}

# Set on purpose: Type=notify, because the daemon says when it listens.
# Left out on purpose, because each hides the GPU or breaks its driver's compiler: PrivateDevices, DeviceAllow,
# ProtectClock (it implies a device list), MemoryDenyWriteExecute. nvidia-modprobe runs before, as root, because
# NoNewPrivileges keeps the driver from starting it. Homes stay readable: a model, or the binary, may lie in one.
systemd_unit() {
    cat <<UNIT
[Unit]
Description=Vecuna text embeddings
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStartPre=-+/usr/bin/nvidia-modprobe -u -c=0
ExecStart="$BIN" serve
User=$ACCOUNT
Restart=always
RestartSec=3
TimeoutStopSec=30
OOMPolicy=continue
LimitNOFILE=65536

StateDirectory=vecuna
CacheDirectory=vecuna
Environment=CUDA_CACHE_PATH=%C/vecuna/nv

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateTmp=yes
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
UNIT
}

# ProcessType: the default class is throttled and may be kept on the slow cores.
launchd_agent() {
    cat <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key><string>vecuna</string>
    <key>ProgramArguments</key><array><string>$BIN</string><string>serve</string></array>
    <key>RunAtLoad</key><true/>
    <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
    <key>ProcessType</key><string>Interactive</string>
    <key>StandardOutPath</key><string>$HOME/Library/Logs/vecuna.log</string>
    <key>StandardErrorPath</key><string>$HOME/Library/Logs/vecuna.log</string>
</dict>
</plist>
PLIST
}

start() {
    case $OS-$SYSTEM in
        *-no) ;;
        Linux-*) start_unit ;;
        Darwin-*) start_agent ;;
    esac
}

# Enabling works on a system that is not booted (an image, a container); starting does not.
start_unit() {
    if command -v systemctl >/dev/null; then
        as_root systemctl --quiet enable vecuna
    fi
    if ! systemd_runs; then
        say "systemd does not run here: the service starts when it does, or run 'vecuna serve' yourself"
        return
    fi
    as_root systemctl daemon-reload
    as_root systemctl restart vecuna || fail "the service did not start: see 'journalctl -u vecuna'"
    say "the service runs: 'journalctl -u vecuna' shows its log, 'systemctl edit vecuna' its settings"
}

start_agent() {
    run launchctl bootout "gui/$(id -u)/vecuna" 2>/dev/null || :
    run launchctl bootstrap "gui/$(id -u)" "$SERVICE" || fail "the agent did not start: see ~/Library/Logs/vecuna.log"
    say "the agent runs: its log is ~/Library/Logs/vecuna.log"
}

advise() {
    [ "$DRY_RUN" = no ] || return 0
    say "installed $BIN and $SERVICE"
    [ "$SYSTEM" = yes ] || say "nothing was started: run '$BIN serve', or hand the service file to your system"
    case :$PATH: in
        *":$PREFIX/bin:"*) ;;
        *) say "$PREFIX/bin is not in your PATH" ;;
    esac
    say "the API is at http://127.0.0.1:11434 once the daemon runs; to try it:"
    say "    vecuna pull all-minilm"
    say "    vecuna run all-minilm \"why is the sky blue?\""
}

uninstall_all() {
    [ "$SYSTEM" = no ] || stop
    remove "$SERVICE"
    remove "$BIN"
    if [ "$OS-$SYSTEM" = Linux-yes ] && systemd_runs; then
        as_root systemctl daemon-reload
    fi
    [ "$SYSTEM" = yes ] || remove_empty_folders
    if [ "$PURGE-$SYSTEM" = yes-yes ]; then
        purge
    elif [ -d "$STATE" ] && [ "$SYSTEM" = yes ]; then
        say "the models stay in $STATE: --uninstall --purge removes them too"
    fi
}

stop() {
    [ -e "$SERVICE" ] || return 0
    if [ "$OS" = Darwin ]; then
        run launchctl bootout "gui/$(id -u)/vecuna" 2>/dev/null || :
    elif systemd_runs; then
        as_root systemctl disable --now vecuna
    else
        remove /etc/systemd/system/multi-user.target.wants/vecuna.service
    fi
}

remove_empty_folders() {
    for folder in bin lib/systemd/system lib/launchd; do
        if [ -d "$PREFIX/$folder" ]; then
            (cd "$PREFIX" && run rmdir -p "$folder" 2>/dev/null) || :
        fi
    done
}

# A user is removed only if it is the one that an installation made: a person's home is elsewhere.
purge() {
    for folder in "$STATE" "$CACHE"; do
        if [ -d "$folder" ]; then
            say "removing $folder"
            at "$folder" rm -rf "$folder"
        fi
    done
    if [ "$OS" = Linux ] && getent passwd "$ACCOUNT" | grep -q ":$STATE:"; then
        say "removing the user '$ACCOUNT'"
        as_root userdel "$ACCOUNT"
    fi
}

# Puts file $2 at $3 with mode $1, by a rename, so that a running binary can be replaced.
put() {
    folder=$(dirname "$3")
    say "writing $3"
    at "$folder" mkdir -p "$folder"
    at "$folder" cp "$2" "$3.new"
    at "$folder" chmod "$1" "$3.new"
    at "$folder" mv -f "$3.new" "$3"
}

remove() {
    [ -e "$1" ] || [ -h "$1" ] || return 0
    say "removing $1"
    at "$(dirname "$1")" rm -f "$1"
}

# Runs a command, as root if the folder $1, or the nearest one above that exists, cannot be written otherwise.
at() {
    place=$1
    shift
    while [ ! -e "$place" ]; do place=$(dirname "$place"); done
    if [ -w "$place" ]; then run "$@"; else as_root "$@"; fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        run "$@"
    elif [ "$DRY_RUN" = yes ] || command -v sudo >/dev/null; then
        run sudo "$@"
    else
        fail "'$1' needs root: run this as root, or give --prefix with a folder of your own"
    fi
}

run() {
    if [ "$DRY_RUN" = yes ]; then say "would run: $*"; else "$@"; fi
}

systemd_runs() { [ -d /run/systemd/system ]; }

say() { echo ">>> $*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

main "$@"
