#!/bin/sh
# Installs Debian packages without starting the services in them: `apt-install.sh PACKAGE...`, as root.
set -eu

# Debian starts a service as soon as it is installed, unless this file says 101. Ours goes again
# whatever happens; one that was there before is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"
