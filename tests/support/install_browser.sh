#!/usr/bin/env bash
# Install Debian's Chromium and its driver with apt-get (as root, or by sudo) for the tests of pages.
set -euo pipefail
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit
get=(apt-get --yes --quiet=2 -o DPkg::Lock::Timeout=300)
[ "$(id -u)" = 0 ] || get=(sudo --non-interactive "${get[@]}")
export DEBIAN_FRONTEND=noninteractive
exec 9>"${TMPDIR:-/tmp}/tests-apt-$(id -u).lock" && flock 9 # Slurm may be installed at the same time
"${get[@]}" update
"${get[@]}" install --no-install-recommends chromium chromium-driver
