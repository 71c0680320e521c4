"""One message of every type of a released image, with every field filled, as its content and as its bytes.

They are made from the image alone, not from the generated code: whoever reads the bytes later must find this content in
them, and whoever writes the content must come to these bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

OURS: Final = "gongji."
DEPTH_MAX: Final = 3
"""Messages inside messages are filled so deep; some contain themselves."""


def golden_messages(image: Path) -> dict[str, dict[str, Any]]:
    """``{"gongji.….Bill": {"json": …, "wire": hex}}``; a message with a oneof has an entry more for each member."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    found: dict[str, dict[str, Any]] = {}
    for file in files.file:
        if file.package.startswith(OURS):
            for descriptor in _all(pool.FindFileByName(file.name).message_types_by_name.values()):
                for name, message in _variants(descriptor):
                    found[name] = {
                        "json": json_format.MessageToDict(message, preserving_proto_field_name=True),
                        "wire": message.SerializeToString(deterministic=True).hex(),
                    }
    return found


def write(image: Path, target: Path) -> None:
    """The golden messages of this image, a line each, so that a difference can be read."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False, sort_keys=True)}"
        for name, entry in sorted(golden_messages(image).items())
    ]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _all(descriptors: Any) -> Iterator[Descriptor]:  # noqa: ANN401  A view of a C mapping.
    for descriptor in descriptors:
        if not descriptor.GetOptions().map_entry:
            yield descriptor
            yield from _all(descriptor.nested_types)


def _variants(descriptor: Descriptor) -> Iterator[tuple[str, Message]]:
    """The message with the last member of each oneof, and one for every other member."""
    yield str(descriptor.full_name), _filled(descriptor, DEPTH_MAX)
    for oneof in descriptor.oneofs:
        for field in oneof.fields[:-1]:
            message = _filled(descriptor, 0)
            _fill(message, field, DEPTH_MAX)
            yield f"{descriptor.full_name}#{field.name}", message


def _filled(descriptor: Descriptor, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        _fill(message, field, depth)
    return message


def _fill(message: Message, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, field.name)["key"] = field.name
    elif field.message_type is not None:
        if depth:
            inner = _filled(field.message_type, depth - 1)
            target = getattr(message, field.name)
            if field.is_repeated:
                target.append(inner)
            else:
                target.SetInParent()
                target.CopyFrom(inner)
    elif field.is_repeated:
        getattr(message, field.name).extend([_value(field), _value(field)])
    else:
        setattr(message, field.name, _value(field))


def _value(field: FieldDescriptor) -> Any:  # noqa: ANN401  Of any type.
    """Told by the field's own number and name, so that two fields that changed places are seen."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return field.name.encode() if field.type == FieldDescriptor.TYPE_BYTES else field.name
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_ENUM if field.enum_type is not None:
            return field.enum_type.values[-1].number
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_INT64 if str(field.full_name).startswith(OURS):
            return -1000 - field.number
        case _:
            return 1000 + field.number
