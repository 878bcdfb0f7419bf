#!/usr/bin/env bash
# fetch_headers.sh FOLDER
#
# Unpacks onnxruntime's C headers (Debian's package libonnxruntime-dev, MIT licence) into FOLDER and prints the folder to
# give to CMake as ONNXRUNTIME_INCLUDE_DIR. Installs nothing and needs no root. Debian 12 does not carry the package:
# there it comes from the next release, through package lists of our own and the mirror that this machine's apt uses.
set -euo pipefail
folder=${1:?usage: fetch_headers.sh FOLDER}
package=libonnxruntime-dev
next_release=trixie

fail() {
    echo "error: onnxruntime's C headers must be there to build the compiled r-softmax, but $1;" \
        "install libonnxruntime-dev (Debian 13), or set ONNXRUNTIME_INCLUDE_DIR to those of any release from 1.17 on" >&2
    exit 1
}

find_headers() {
    local header
    header=$(find "$folder" -name onnxruntime_c_api.h -print -quit 2>/dev/null)
    [ -n "$header" ] && dirname "$header"
}

# apt with lists and caches of its own, and of all the machine's sources only the one that is named.
private_apt() {
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::State::Status="$work/status" \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=1 \
        -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 "$@"
}

download_from_next_release() {
    local mirror
    mirror=$({ apt-get update --print-uris 2>/dev/null || true; } |
        sed -n "s#^'\(.*\)/dists/$VERSION_CODENAME/InRelease'.*#\1#p" | head -n 1)
    [ -n "$mirror" ] || fail "apt has no source for Debian $VERSION_CODENAME"
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed_by=
    [ -e "$keyring" ] && signed_by="[signed-by=$keyring] "
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    touch "$work/status"
    echo "deb $signed_by$mirror $next_release main" >"$work/sources.list"
    private_apt update >&2 || fail "apt could not read the package lists of Debian $next_release"
    private_apt download "$package" >&2 || fail "apt could not download $package from Debian $next_release"
}

find_headers && exit
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "this machine has no apt to fetch them with"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$work"
if ! apt-get -qq download "$package" -o APT::Sandbox::User="$(id -un)" >/dev/null 2>&1; then
    # shellcheck source=/dev/null
    . /etc/os-release
    [ "${ID:-}" = debian ] || fail "the package lists of ${PRETTY_NAME:-this system} have no $package"
    download_from_next_release
fi
dpkg-deb -x "$package"_*.deb "$folder"
find_headers || fail "$package does not hold onnxruntime_c_api.h"
