#!/bin/sh
# Prints alerts with kcat (Debian: apt install kcat), committed ones alone: id, card, place and the alert as JSON.
#   ./kcat.sh [BROKERS] [TOPIC]          goes on until Ctrl-C
#   ./kcat.sh BROKERS TOPIC --count      counts what is there now, and ends
set -eu

brokers="${1:-127.0.0.1:9092}"
topic="${2:-fraud.alerts}"

# Without read_committed, kcat shows alerts of epochs that were taken back too.
read_committed() {
  kcat -b "$brokers" -t "$topic" -C -q -o beginning -X isolation.level=read_committed "$@"
}

if [ "${3:-}" = "--count" ]; then
  read_committed -e -f '%p %o\n' | wc -l
else
  read_committed -u -f '%h\n%k %p/%o %s\n'
fi
