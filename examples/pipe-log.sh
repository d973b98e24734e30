#!/bin/sh
# Every line of standard input that matches PATTERN goes to WHO, one message each: tail -F app.log | pipe-log.sh WHO PATTERN
set -eu
grep --line-buffered -e "$2" | messageu chat "$1" --json
