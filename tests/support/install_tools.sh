#!/usr/bin/env bash
# Install what some tests need, with apt-get (as root, or by sudo): a Prometheus, a browser and its
# driver, and systemd's checks of units.
set -euo pipefail
packages=(prometheus chromium chromium-driver systemd)
dpkg --status "${packages[@]}" >/dev/null 2>&1 && exit
get=(apt-get --yes --quiet=2 -o DPkg::Lock::Timeout=300)
[ "$(id -u)" = 0 ] || get=(sudo --non-interactive "${get[@]}")
export DEBIAN_FRONTEND=noninteractive
exec 9>"${TMPDIR:-/tmp}/tests-apt-$(id -u).lock" && flock 9 # Slurm may be installed at the same time
"${get[@]}" update
"${get[@]}" install --no-install-recommends "${packages[@]}"
