#!/usr/bin/env python3
"""Reads alerts as a system behind the detector would: each committed alert, checked, handled, and only then its offset
committed. Needs: pip install confluent-kafka jsonschema

    python consume.py --brokers 127.0.0.1:9092 --group my-system
    python consume.py --brokers 127.0.0.1:9092 --group check --exit-when-idle 5     # for checks: ends by itself

Ends with 1 when an alert is not as the contract says or comes twice, else with 0. The last line of its output is JSON.
"""

import argparse
import json
import re
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
    from jsonschema import Draft202012Validator
except ImportError as missing:
    print(f"{missing}: pip install confluent-kafka jsonschema", file=sys.stderr)
    sys.exit(2)

EVENT_TYPE = "fraud.alert.v1"
SCHEMA_URN = "urn:fraud-detection:schema:alert:v1"
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
COMMIT_EVERY_S = 1.0
DEFAULT_SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "alert.schema.json"


class ContractBroken(Exception):
    """An alert is not what docs/ALERT-CONTRACT.md promises."""


def check_headers(headers, alert, key):
    """The event's attributes, by the CloudEvents Kafka binding: `ce_` headers in UTF-8."""

    def header(name):
        if name not in headers:
            raise ContractBroken(f"the header {name} is missing")
        return headers[name]

    expected = {
        "ce_specversion": "1.0",
        "ce_id": alert["alertId"],
        "ce_dataschema": SCHEMA_URN,
        "ce_subject": alert["paymentId"] or alert["cardId"],
        "content-type": "application/json",
    }
    for name, value in expected.items():
        if header(name) != value:
            raise ContractBroken(f"the header {name} is {header(name)!r}, not {value!r}")
    datetime.fromisoformat(header("ce_time").replace("Z", "+00:00"))
    if not header("ce_source").startswith("/fraud-detection/"):
        raise ContractBroken(f"the header ce_source is {header('ce_source')!r}")
    if not TRACEPARENT.fullmatch(header("traceparent")) or headers["traceparent"] != header("ce_traceparent"):
        raise ContractBroken(f"the header traceparent is {header('traceparent')!r}")
    if key != alert["cardId"].encode():
        raise ContractBroken("the record's key is not the card")


class Seen:
    """Where each alert lay. The same id elsewhere is a second alert; the same id at the same place was only read again
    (after a rebalance, or because this program ended before it had committed). A real system needs no such memory: it
    takes ce_id for the key of what it writes."""

    def __init__(self):
        self.places = {}

    def add(self, alert_id, place):
        known = self.places.setdefault(alert_id, place)
        if known != place:
            raise ContractBroken(f"alert {alert_id} is at {known} and at {place}")


def handle(alert):
    """What your system does. Make it idempotent by alertId: an alert can be read again, though it is written once."""


def read_message(message, validator, seen):
    """Checks and handles one record; returns whether it was an alert of this version."""
    place = f"{message.partition()}/{message.offset()}"
    headers = {name: (value or b"").decode() for name, value in message.headers() or []}
    if headers.get("ce_type") != EVENT_TYPE:
        # Another kind of event, such as a later version beside this one: not ours to read.
        return False
    alert = json.loads(message.value())
    error = next(validator.iter_errors(alert), None)
    if error is not None:
        raise ContractBroken(f"the alert at {place} is invalid: {error.json_path}: {error.message}")
    check_headers(headers, alert, message.key())
    seen.add(alert["alertId"], place)
    handle(alert)
    return True


def run(options):
    consumer = Consumer(
        {
            "bootstrap.servers": options.brokers,
            "group.id": options.group,
            "client.id": options.group,
            # Alerts of epochs that were taken back are not shown, and those of open ones not yet.
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "topic.metadata.refresh.interval.ms": 5000,
        }
    )
    validator = Draft202012Validator(json.loads(Path(options.schema).read_text()))
    seen, others, handled = Seen(), 0, {}
    stopping = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.append(True))

    def commit():
        """Says how far alerts were handled. Nothing of it is doubtful: it returns when the broker has it."""
        if handled:
            offsets = [TopicPartition(options.topic, partition, offset) for partition, offset in handled.items()]
            consumer.commit(offsets=offsets, asynchronous=False)
            handled.clear()

    def on_revoke(_, __):
        commit()

    consumer.subscribe([options.topic], on_revoke=on_revoke)
    started = last_alert = last_commit = time.monotonic()
    idle_s = float("inf") if options.exit_when_idle is None else options.exit_when_idle
    problem = None
    try:
        while not stopping:
            message = consumer.poll(0.2)
            now = time.monotonic()
            if message is not None and message.error():
                # A broker that restarts is no error of ours; the client goes on by itself.
                if message.error().fatal() or message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise KafkaException(message.error())
            elif message is not None:
                others += 0 if read_message(message, validator, seen) else 1
                handled[message.partition()] = message.offset() + 1
                last_alert = now
            if now - last_commit >= COMMIT_EVERY_S:
                commit()
                last_commit = now
            if not consumer.assignment():
                # Still joining the group: nothing can come yet.
                last_alert = now
            if now - last_alert >= idle_s:
                break
    except (ContractBroken, ValueError, KafkaException) as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        if problem is None:
            commit()
        consumer.close()
    report = {
        "alerts": len(seen.places),
        "others": others,
        "seconds": round(time.monotonic() - started, 1),
        "problem": problem,
    }
    print(json.dumps(report), flush=True)
    return 0 if problem is None else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    parser.add_argument("--topic", default="fraud.alerts")
    parser.add_argument("--group", default="alert-example-python")
    parser.add_argument("--schema", default=str(DEFAULT_SCHEMA))
    parser.add_argument("--exit-when-idle", type=float, metavar="SECONDS")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
