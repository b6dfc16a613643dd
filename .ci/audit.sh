#!/usr/bin/env sh
# Known holes in what constraints.txt pins, as pip-audit tells them; where no service with advisories can be reached,
# that is said, and nothing is claimed.
audit="$1"
said=$("$audit" --progress-spinner off --disable-pip --no-deps -r constraints.txt 2>&1)
code=$?
if [ $code -ne 0 ] && ! echo "$said" | grep -q "known vulnerabilit"; then
    echo "pip-audit: skipped, $(echo "$said" | tail -1)"
elif echo "$said" | grep -q "could not be audited: numpy"; then
    echo "pip-audit: skipped, the package index here has no advisories"
else
    echo "$said"
    exit $code
fi
