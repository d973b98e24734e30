#!/bin/sh
# Three accounts on one machine, a group of them, and what each gets to see. MESSAGEU_SERVER is the link to the server.
set -eu
for name in ada ben cyd; do messageu register "$name" --profile "$name"; done
for name in ben cyd; do messageu requests accept ada --profile "$name"; done # else ada is a stranger to them
messageu group create trio ben cyd --profile ada
messageu send '#trio' 'Hello, both of you' --profile ada
messageu listen --once --profile ben
messageu send '#trio' 'Hello, ada' --profile ben
for name in ada cyd; do messageu listen --once --profile "$name"; done
