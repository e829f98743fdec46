#!/usr/bin/env python3
"""Writes payments in Avro to Kafka, as a producer outside of this project does: with confluent-kafka's AvroSerializer
and a schema registry. Several versions of the schema are written side by side.

    pip install 'confluent-kafka[avro]'
    produce.py --brokers 127.0.0.1:9092 --registry http://127.0.0.1:8081/apis/ccompat/v7 --count 10000 --rate 500

Payments are made up, or read as JSON, one a line (--file), in the fields of schemas/payment.avsc.
"""
import argparse
import itertools
import json
import random
import sys
import time

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

REQUIRED = [
    {"name": "paymentId", "type": "string"},
    {"name": "cardId", "type": "string"},
    {"name": "merchantId", "type": "string"},
    {"name": "amountMinor", "type": "long"},
    {"name": "currency", "type": "string"},
    {"name": "occurredAt", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "country", "type": ["null", "string"], "default": None},
    {"name": "latitude", "type": ["null", "double"], "default": None},
    {"name": "longitude", "type": ["null", "double"], "default": None},
]
ADDED = [{"name": "deviceId", "type": ["null", "string"], "default": None}]
RENAMED = [
    dict(field, name="merchant_id", aliases=["merchantId"]) if field["name"] == "merchantId" else field
    for field in REQUIRED
]
FOREIGN = [{"name": "loyaltyTiers", "type": {"type": "array", "items": "string"}, "default": []}]

# Each can read what the ones before have written: the registry checks that (BACKWARD).
VERSIONS = {
    1: REQUIRED,
    2: REQUIRED + ADDED,
    3: RENAMED + ADDED + FOREIGN,
}


def schema_of(version):
    return json.dumps(
        {"type": "record", "name": "Payment", "namespace": "fraud.payments", "fields": VERSIONS[version]}
    )


def value_in(version, payment):
    """The payment in the fields of a version; what the version does not have is left out."""
    value = {field["name"]: payment.get(field["name"]) for field in VERSIONS[version]}
    if version == 3:
        value["merchant_id"] = payment["merchantId"]
        value["loyaltyTiers"] = ["gold", "early"]
    return value


def made_up(seed):
    rng = random.Random(seed)
    for number in itertools.count():
        yield {
            "paymentId": f"py-{seed}-{number}",
            "cardId": f"card-{rng.randrange(2000)}",
            "merchantId": f"merchant-{rng.randrange(200)}",
            "amountMinor": rng.randrange(100, 20000),
            "currency": "EUR",
            "occurredAt": int(time.time() * 1000),
            "country": "BE",
            "deviceId": f"device-{rng.randrange(50)}",
        }


def read(path):
    with sys.stdin if path == "-" else open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def arguments():
    parser = argparse.ArgumentParser(description="Write payments in Avro to Kafka.")
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081/apis/ccompat/v7")
    parser.add_argument("--topic", default="payments.raw")
    parser.add_argument("--file", help="payments as JSON, one a line; - is standard input")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0, help="payments a second; 0: as fast as it goes")
    parser.add_argument("--versions", default="1,2", help="schema versions, taken in turn")
    parser.add_argument("--later", default="", metavar="VERSION@N", help="one more version from payment N on")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = arguments()
    versions = [int(version) for version in args.versions.split(",")]
    later, later_from = (int(part) for part in args.later.split("@")) if args.later else (0, args.count)
    registry = SchemaRegistryClient({"url": args.registry})
    context = SerializationContext(args.topic, MessageField.VALUE)
    serializers = {}
    first = next(made_up(0))
    for version in sorted({*versions, *([later] if later else [])}):
        serializers[version] = AvroSerializer(registry, schema_of(version))
        # Registers it now: the registry may be away by the time of the first payment.
        schema_id = int.from_bytes(serializers[version](value_in(version, first), context)[1:5], "big")
        print(f"version {version} is schema {schema_id}", flush=True)

    # The partitioner of Kafka's own clients: payments of a card must lie where other producers put them.
    producer = Producer(
        {"bootstrap.servers": args.brokers, "partitioner": "murmur2_random", "linger.ms": 5, "enable.idempotence": True}
    )
    failed = []
    payments = read(args.file) if args.file else made_up(args.seed)
    started = time.monotonic()
    written = 0
    for number, payment in enumerate(itertools.islice(payments, args.count)):
        turn = versions + [later] if number >= later_from else versions
        version = turn[number % len(turn)]
        value = serializers[version](value_in(version, payment), context)
        while True:
            try:
                producer.produce(
                    args.topic,
                    key=payment["cardId"].encode(),
                    value=value,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
                break
            except BufferError:  # its queue is full: let it send
                producer.poll(0.1)
        producer.poll(0)
        written += 1
        if args.rate > 0:
            ahead = started + written / args.rate - time.monotonic()
            if ahead > 0.005:
                time.sleep(ahead)
    left = producer.flush(60)
    seconds = time.monotonic() - started
    print(f"written {written - left - len(failed)} of {written} payments in {seconds:.1f} s", flush=True)
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
