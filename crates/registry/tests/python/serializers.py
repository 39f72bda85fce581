"""confluent-kafka's AvroSerializer and AvroDeserializer with a registry: serializers.py BOOTSTRAP REGISTRY_URL

Writes and reads records of two schema versions through Kafka, and asks the registry what its Python client can ask.
Ends with a traceback when anything is not as with Confluent's own registry.
"""

import sys
import uuid
from decimal import Decimal

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

V1 = """{"type": "record", "name": "Payment", "namespace": "shop", "fields": [
    {"name": "id", "type": "string"},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}}]}"""
V2 = V1[:-2] + """, {"name": "currency", "type": "string", "default": "EUR"}]}"""
BREAKING = V1[:-2] + """, {"name": "must", "type": "int"}]}"""


def refused(code, status, ask):
    try:
        ask()
    except SchemaRegistryError as error:
        assert (error.error_code, error.http_status_code) == (code, status), error
        return error
    raise AssertionError(f"expected {code}")


def serializers(bootstrap, client):
    topic = "payments-" + uuid.uuid4().hex
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result(30)
    context = SerializationContext(topic, MessageField.VALUE)
    producer = Producer({"bootstrap.servers": bootstrap})
    rows = [
        (V1, {"id": "a", "amount": Decimal("1.50")}),
        (V2, {"id": "b", "amount": Decimal("-0.01"), "currency": "USD"}),
        (V1, {"id": "c", "amount": Decimal("99999999.99")}),
    ]
    for schema, row in rows:
        producer.produce(topic, AvroSerializer(client, schema)(row, context))
    assert producer.flush(30) == 0

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    plain, resolving = AvroDeserializer(client), AvroDeserializer(client, V2)
    for _, row in rows:
        message = consumer.poll(30)
        assert message is not None and message.error() is None, message
        assert plain(message.value(), context) == row
        assert resolving(message.value(), context) == {"currency": "EUR", **row}
    consumer.close()
    subject = topic + "-value"
    assert client.get_versions(subject) == [1, 2]
    # A serializer that may not register finds what is there, and uses the latest.
    finding = AvroSerializer(client, V1, conf={"auto.register.schemas": False})
    assert finding(rows[0][1], context)[:5] == AvroSerializer(client, V1)(rows[0][1], context)[:5]
    latest = AvroSerializer(client, conf={"auto.register.schemas": False, "use.latest.version": True})
    assert plain(latest(rows[1][1], context), context) == rows[1][1]
    return subject


def questions(client, subject):
    assert subject in client.get_subjects()
    first = client.get_version(subject, 1)
    assert (first.subject, first.version) == (subject, 1)
    assert client.get_schema(first.schema_id).schema_str == first.schema.schema_str
    assert client.get_latest_version(subject).version == 2
    found = client.lookup_schema(subject, Schema(V1, "AVRO"))
    assert (found.version, found.schema_id) == (1, first.schema_id)
    refused(40403, 404, lambda: client.get_schema(2_000_000_000))
    refused(40401, 404, lambda: client.get_versions("none-" + subject))
    refused(40402, 404, lambda: client.get_version(subject, 99))

    assert client.test_compatibility(subject, Schema(V2, "AVRO"))
    assert not client.test_compatibility(subject, Schema(BREAKING, "AVRO"))
    error = refused(409, 409, lambda: client.register_schema(subject, Schema(BREAKING, "AVRO")))
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" in str(error)
    refused(42201, 422, lambda: client.register_schema(subject, Schema('{"type": "recrd"}', "AVRO")))
    refused(42201, 422, lambda: client.register_schema(subject, Schema("{}", "JSON")))

    refused(40408, 404, lambda: client.get_compatibility(subject))
    client.set_compatibility(subject, "NONE")
    assert client.get_compatibility(subject) == "NONE"
    assert client.register_schema(subject, Schema(BREAKING, "AVRO")) > first.schema_id
    refused(42203, 422, lambda: client.set_compatibility(subject, "SIDEWAYS"))

    referring = '{"type": "record", "name": "Batch", "fields": [{"name": "first", "type": "shop.Payment"}]}'
    reference = SchemaReference("shop.Payment", subject, 1)
    number = client.register_schema("batch-" + subject, Schema(referring, "AVRO", [reference]))
    assert client.get_schema(number).references[0].subject == subject
    refused(42206, 422, lambda: client.delete_version(subject, 1))
    assert client.delete_subject("batch-" + subject) == [1]
    assert client.delete_subject("batch-" + subject, permanent=True) == [1]

    assert client.delete_version(subject, 3) == 3
    assert client.delete_subject(subject) == [1, 2]
    assert subject not in client.get_subjects()
    assert client.delete_subject(subject, permanent=True) == [1, 2, 3]
    refused(40401, 404, lambda: client.delete_subject(subject))


def main():
    bootstrap, url = sys.argv[1:]
    client = SchemaRegistryClient({"url": url})
    subject = serializers(bootstrap, client)
    questions(SchemaRegistryClient({"url": url}), subject)
    print("serializers: ok")


main()
