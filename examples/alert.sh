#!/bin/sh
# Tells WHO which disks are nearly full: alert.sh WHO [PERCENT]. Says nothing while there is nothing to say: for cron.
set -eu
full=$(df -P | awk -v limit="${2:-90}" 'NR > 1 && $5 + 0 >= limit { print $6 " is " $5 " full" }')
[ -z "$full" ] || printf '%s\n' "$full" | messageu send "$1"
